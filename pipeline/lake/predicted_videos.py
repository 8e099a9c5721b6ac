"""Predictions video by video: what each file holds, and how the rows of a video are replaced by those of its new state.

A file holds some videos whole, and its footer lists them, each with the state of its segments that was predicted from.
Where a video has another state by now, such as after a retry, its file is replaced in one step, with what it holds of
other videos.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.appended_file import file_with, foreign_file, read_document
from pipeline.lake.files import DatasetFiles, digest_of
from pipeline.lake.side_tables import PREDICTIONS
from pipeline.lake.video_features import LakeFeatures
from pipeline.lake.video_groups import VideoGroup
from pipeline.records.documents import Document, parts, text, whole
from pipeline.records.ids import ID_BYTES, find_places
from pipeline.records.periods import Period
from pipeline.records.tables import Table

_KEY = b"vidlake.predicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedVideo:
    """A video in a file of predictions."""

    video_id: str
    state: str
    """Of its segments: see ``LakeFeatures.states``."""
    num_rows: int

    def to_json(self) -> Document:
        """An entry of a footer."""
        return {"video_id": self.video_id, "state": self.state, "num_rows": self.num_rows}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``. Raises ``KeyError`` or ``TypeError``: it is none."""
        return cls(
            video_id=text(document, "video_id"), state=text(document, "state"), num_rows=whole(document, "num_rows")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A file that is to be replaced, and what tells it from its replacement."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoWork:
    """Videos whose predictions make a new file, or take the place of their earlier ones in the file that holds them."""

    groups: tuple[VideoGroup, ...]
    replaced: Replaced | None

    @property
    def num_samples(self) -> int:
        """That they have, in the first of the datasets."""
        return sum(len(group.placed[0].rows) for group in self.groups)


class PendingVideos:
    """The videos of a lake that a head has still to be asked about.

    Attributes:
        num_videos: how many.
        num_samples: that they have.
        num_waiting: videos with a segment that is planned and not settled yet.
        num_undated: videos that are left out of a period, for nobody knows when they were recorded.
    """

    def __init__(self, lake: LakeFeatures, files: DatasetFiles, *, period: Period) -> None:
        """Those that are settled, lie in the period, and are in no file with their present state."""
        self._lake = lake
        self._held = _Held.of(files)
        ids = lake.ids
        recorded_s, end_s = lake.recorded_of(ids), lake.ends_of(ids)
        self.num_undated = 0 if period.is_open else int(np.isnan(recorded_s).sum())
        ids = ids[period.touches(recorded_s, recorded_s + np.where(np.isnan(end_s), 0.0, end_s))]
        is_settled = lake.are_settled(ids)
        self.num_waiting = int((~is_settled).sum())
        ids = ids[is_settled]
        self._ids = ids[self._held.lacks(ids, lake.states(ids))]
        self.num_videos = len(self._ids)
        self.num_samples = int(lake.num_samples(self._ids).sum())

    def work(self) -> Iterator[VideoWork]:
        """What is to be done, in parts of bounded memory: first the videos of files that are to be replaced."""
        at = find_places(self._held.ids, self._ids)
        file = self._held.file[at] if len(self._held.ids) else at
        for number in np.unique(file[at >= 0]).tolist():
            stale = self._ids[(at >= 0) & (file == number)]
            yield VideoWork(groups=tuple(self._lake.groups(stale)), replaced=self._held.replaced[number])
        for group in self._lake.groups(self._ids[at < 0]):
            yield VideoWork(groups=(group,), replaced=None)


def publish_videos(
    files: DatasetFiles,
    table: Table,
    rows: pa.Table,
    videos: Sequence[PredictedVideo],
    *,
    replaced: Replaced | None,
    token: str,
) -> int | None:
    """Publish the predictions of videos, ``rows`` in their order: a new file, or the replacement of one.

    Returns:
        The file's size in bytes, 0 where it was there already; ``None``: another run has replaced the file meanwhile.

    Raises:
        LeaseLost: another run has taken over.
        StorageError: the store failed.
    """
    if replaced is not None:
        kept_rows, kept = _others(files, replaced.name, {video.video_id for video in videos})
        rows, videos = pa.concat_tables([kept_rows.cast(table.schema), rows]), [*kept, *videos]
        data = _file_of(rows, videos)
        is_replaced = files.fence(token).replace(replaced.name, data, version=replaced.version)
        return len(data) if is_replaced else None
    data = _file_of(rows, videos)
    name = f"{table.name}/{digest_of(sorted(f'{video.video_id}.{video.state}' for video in videos))}.parquet"
    is_new = files.fence(token).publish(name, data, stand_in=_file_of(rows.slice(0, 0), []))
    return len(data) if is_new else 0


def _file_of(rows: pa.Table, videos: Sequence[PredictedVideo]) -> bytes:
    if sum(video.num_rows for video in videos) != len(rows):
        raise ValueError(f"{len(rows)} rows for {len(videos)} videos that have others")
    return bytes(file_with(rows, {_KEY: [video.to_json() for video in videos]}))


def _others(files: DatasetFiles, name: str, video_ids: set[str]) -> tuple[pa.Table, list[PredictedVideo]]:
    """The rows of a file, and its list, without those of some videos."""
    videos = files.read(name, lambda file: _listed(file, uri=files.uri(name)))
    rows = files.read_ours(name, lambda file: pq.ParquetFile(file).read())
    is_other = pc.invert(pc.is_in(rows["video_id"], pa.array(sorted(video_ids), pa.string())))
    return rows.filter(is_other), [video for video in videos if video.video_id not in video_ids]


def _listed(file: pa.NativeFile, *, uri: str) -> list[PredictedVideo]:
    document = read_document(file, _KEY, uri=uri)
    try:
        return [PredictedVideo.from_json(entry) for entry in parts({"videos": document}, "videos")]
    except (KeyError, TypeError):
        raise foreign_file(uri, "its list of videos is damaged") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Which videos the files hold, and in which state."""

    ids: NDArray[np.bytes_]
    """Sorted."""
    states: NDArray[np.bytes_]
    file: NDArray[np.int32]
    replaced: tuple[Replaced, ...]

    @classmethod
    def of(cls, files: DatasetFiles) -> Self:
        versions = files.store.versions(PREDICTIONS)  # before what they hold is read: see ``Derived``
        names = [name for name in files.tables(PREDICTIONS) if name in versions]
        ids, states, file = [np.empty(0, f"S{ID_BYTES}")], [np.empty(0, "S1")], [np.empty(0, np.int32)]
        for number, (_, videos) in enumerate(files.read_each(names, _listed)):
            ids.append(np.array([video.video_id for video in videos], f"S{ID_BYTES}"))
            states.append(np.array([video.state for video in videos], "S"))
            file.append(np.full(len(videos), number, np.int32))
        all_ids = np.concatenate(ids)
        order = np.argsort(all_ids, kind="stable")
        return cls(
            ids=all_ids[order],
            states=np.concatenate(states)[order],
            file=np.concatenate(file)[order],
            replaced=tuple(Replaced(name=name, version=versions[name]) for name in names),
        )

    def lacks(self, ids: NDArray[np.bytes_], states: Sequence[str]) -> NDArray[np.bool_]:
        """Which of these videos are not there, or in another state."""
        at = find_places(self.ids, ids)
        if not len(self.ids):
            return at < 0
        is_other: NDArray[np.bool_] = self.states[at] != np.array(states, "S")
        return (at < 0) | is_other
