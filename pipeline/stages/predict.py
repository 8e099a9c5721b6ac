"""Features to predictions, by a head and free of Ray: the frames of a features file, or whole videos."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.lake.files import DatasetFiles
from pipeline.lake.long_videos import LongVideo
from pipeline.lake.pending_frames import FramePiece
from pipeline.lake.placed_rows import Piece, feature_matrix, read_groups
from pipeline.lake.predicted_videos import PredictedVideo
from pipeline.lake.video_features import GROUP_BYTES
from pipeline.lake.video_groups import VideoGroup
from pipeline.models.heads.head import Answers, Head
from pipeline.records.units import Units, VideoSamples

_COLUMNS = ["uri", "epoch", "pts", "time_s", "feature"]
_LONG_BYTES = GROUP_BYTES
"""Of a video's features: of more, a stretch is held at a time."""


def predict_frames(piece: FramePiece, head: Head, *, files: DatasetFiles, schema: pa.Schema) -> pa.Table:
    """The predictions for the frames of a piece, in their order, as rows of ``schema``.

    Features are let go a row group at a time.

    Raises:
        ForeignFile: the file is damaged.
        StorageError: the store failed.
    """
    frames = _Frames(num_frames=piece.num_samples, num_labels=len(head.info.labels), num_segments=len(piece.count))
    read_groups(files, piece.placed, columns=_COLUMNS, take=partial(frames.take, head=head))
    ends_s = np.append(frames.times_s[1:], np.nan)
    last = np.cumsum(piece.count) - 1
    ends_s[last] = np.where(piece.is_followed, ends_s[last], _last_ends(piece, frames.times_s, last))
    owner = np.repeat(np.arange(len(piece.count), dtype=np.int32), piece.count)
    keys = {
        "video_id": _repeated(piece.video_ids, owner),
        "uri": _repeated(frames.uris, owner),
        "epoch": frames.epochs,
        "pts": frames.pts,
        "time_s": frames.times_s,
        "end_s": ends_s,
    }
    return _rows(keys, frames.probabilities, head, schema=schema)


def predict_videos(
    groups: Sequence[VideoGroup], states: Sequence[str], head: Head, *, files: Sequence[DatasetFiles], schema: pa.Schema
) -> tuple[pa.Table, list[PredictedVideo]]:
    """The predictions for the units of videos, one video after the other, as rows of ``schema``.

    Args:
        groups: the videos.
        states: of each of them.
        head: what answers.
        files: of each dataset whose features stand side by side.
        schema: of the table.

    Raises:
        ForeignFile: a file is damaged.
        StorageError: a store failed.
    """
    dims = [backbone.model.dim for backbone in head.info.backbones]
    tables, listed = [schema.empty_table()], []
    answered = (each for group in groups for each in _of_group(group, head, files=files, dims=dims))
    for (video_id, uri, samples, answers), state in zip(answered, states, strict=True):
        tables.append(_unit_rows(video_id, uri, samples, answers, head, schema=schema))
        listed.append(PredictedVideo(video_id=video_id, state=state, num_rows=len(tables[-1])))
    return pa.concat_tables(tables), listed


_Answered = tuple[str, str, VideoSamples, Answers]


def _of_group(
    group: VideoGroup, head: Head, *, files: Sequence[DatasetFiles], dims: Sequence[int]
) -> Iterator[_Answered]:
    """What the head says of each video of a group; one that is large is read a stretch at a time."""
    num_bytes = 4 * sum(dims) * len(group.placed[0].rows)
    if len(group.video_ids) == 1 and num_bytes > _LONG_BYTES and head.info.unit.kind != "video":
        video = LongVideo(group, files, dims=dims)
        yield video.video_id, video.uri, video.samples, _of_long_video(video, head, dim=sum(dims))
        return
    for each in group.read(files, dims=dims):
        yield each.video_id, each.uri, each.samples, head.answer(each.features, each.samples)


def _of_long_video(video: LongVideo, head: Head, *, dim: int) -> Answers:
    """What the head says of the units of a video, of which those that begin within some rows are held at once."""
    units, epochs = head.info.unit.of(video.samples), video.samples.epochs
    parts = [np.empty((0, len(head.info.labels)), np.float32)]
    edges = np.flatnonzero(np.diff(units.begin // max(1, _LONG_BYTES // (4 * dim)))) + 1
    for some in np.split(np.arange(len(units)), edges) if len(units) else []:
        begin, end = units.begin[some], units.end[some]
        first, last = max(0, int(begin[0]) - 1), int(end.max())  # one more: ``delta`` looks back
        x = video.features(first, last)
        held = Units(begin=begin - first, end=end - first, time_s=units.time_s[some], end_s=units.end_s[some])
        if head.info.is_each_sample_alone:
            parts.append(head.frames(x[held.begin[0] :]))
        else:
            parts.append(head.of_units(x, held, runs=epochs[first:last]))
    return Answers(units=units, probabilities=np.concatenate(parts))


def _unit_rows(
    video_id: str, uri: str, samples: VideoSamples, answers: Answers, head: Head, *, schema: pa.Schema
) -> pa.Table:
    units = answers.units
    owner = np.zeros(len(units), np.int32)
    keys = {
        "video_id": _repeated([video_id], owner),
        "uri": _repeated([uri], owner),
        "epoch": samples.epochs[units.begin],
        "pts": samples.pts[units.begin],
        "time_s": units.time_s,
        "end_s": units.end_s,
    }
    return _rows(keys, answers.probabilities, head, schema=schema)


class _Frames:
    """Room for what is kept of frames: all but their features."""

    def __init__(self, *, num_frames: int, num_labels: int, num_segments: int) -> None:
        self.epochs = np.empty(num_frames, np.int32)
        self.pts = np.empty(num_frames, np.int64)
        self.times_s = np.empty(num_frames, np.float64)
        self.probabilities = np.empty((num_frames, num_labels), np.float32)
        self.uris = [""] * num_segments

    def take(self, group: pa.Table, pieces: list[Piece], *, head: Head) -> None:
        """Answer for what is wanted of a row group."""
        features = feature_matrix(group["feature"])
        epochs, pts, times_s = (group[name].to_numpy() for name in ("epoch", "pts", "time_s"))
        for source, target in _runs(pieces):
            self.epochs[target], self.pts[target], self.times_s[target] = epochs[source], pts[source], times_s[source]
            self.probabilities[target] = head.frames(features[source].astype(np.float32, copy=False))
        for piece in pieces:
            if piece.is_first:
                self.uris[piece.span] = group["uri"][piece.source.start].as_py()


def _runs(pieces: list[Piece]) -> list[tuple[slice, slice]]:
    """Pieces that lie side by side and go side by side, as one."""
    runs: list[tuple[slice, slice]] = []
    for piece in pieces:
        source, target = piece.source, piece.target
        if runs and (runs[-1][0].stop, runs[-1][1].stop) == (source.start, target.start):
            source, target = slice(runs[-1][0].start, source.stop), slice(runs[-1][1].start, target.stop)
            runs.pop()
        runs.append((source, target))
    return runs


def _last_ends(piece: FramePiece, times_s: NDArray[np.float64], last: NDArray[np.int64]) -> NDArray[np.float64]:
    """When the last frame of each segment ends that the piece does not go on from.

    As ``records.units`` has it: where the next frame is shown, or the video ends; where that is not known, the last
    frame lasts as long as the one before it.
    """
    last_s = times_s[last]
    before_s = np.where(piece.count > 1, times_s[last - 1], piece.before_s)
    lasts_s = np.nan_to_num(np.maximum(0.0, last_s - before_s), nan=0.0)
    ends_s = np.where(piece.video_end_s > last_s, piece.video_end_s, last_s + lasts_s)
    return np.where(np.isnan(piece.next_s), ends_s, np.maximum(piece.next_s, last_s))


def _repeated(values: Sequence[str], owner: NDArray[np.int32]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(owner), pa.array(values, pa.string())).cast(pa.string())


def _rows(keys: dict[str, object], probabilities: NDArray[np.float32], head: Head, *, schema: pa.Schema) -> pa.Table:
    labels = pa.array(head.info.labels, pa.string())
    said = head.labels_of(probabilities)
    flat = pa.array(np.ascontiguousarray(probabilities).reshape(-1))
    columns = {
        **keys,
        "label": pa.DictionaryArray.from_arrays(pa.array(said.best.astype(np.int32)), labels).cast(pa.string()),
        "probability": probabilities[np.arange(len(said.best)), said.best],
        "probabilities": pa.FixedSizeListArray.from_arrays(flat, len(labels)),
    }
    if head.info.is_multi_label:
        offsets = np.append(0, np.cumsum(said.holds.sum(axis=1))).astype(np.int32)
        places = pa.array(np.nonzero(said.holds)[1].astype(np.int32))
        columns["labels"] = pa.ListArray.from_arrays(pa.array(offsets), labels.take(places))
    arrays = [
        pa.array(column) if isinstance(column, np.ndarray) else column for column in map(columns.get, schema.names)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
