"""One video over time: its samples, what is missing of it, and what a head says of it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.explore.viewing.lake_view import LakeView
from pipeline.lake.dataset import Dataset
from pipeline.lake.declarations import declaration_of
from pipeline.lake.live.readers import gaps
from pipeline.lake.side_tables import PREDICTIONS
from pipeline.records.documents import Document, texts, whole
from pipeline.records.documents import text as text_of

_MOST_CURVES = 6
"""Labels that are drawn: those that are the most probable over the video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A stretch of the video without rows."""

    kind: str
    """``failed``: it stands in quarantine; ``gap``: a stream lacks these slots."""
    start_s: float
    end_s: float
    reason: str
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadCurves:
    """What a head says of the units of a video, in the order of time."""

    head: str
    """``NAME@VERSION``"""
    labels: tuple[str, ...]
    """The most probable ones, at most a handful."""
    times_s: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    """``float32[labels, units]``"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What there is to draw of a video."""

    video: Document
    epochs: NDArray[np.int32]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    missing: tuple[Missing, ...]
    heads: tuple[HeadCurves, ...]


def timeline(view: LakeView, video_id: str) -> Timeline:
    """All that is known of one video over time.

    Raises:
        NoSuchVideo: the lake does not hold it.
        ForeignFile: a file is damaged.
        StorageError: the store failed.
    """
    video = view.video(video_id)
    samples = view.samples(video_id)
    dataset = view.now.dataset
    return Timeline(
        video=video,
        epochs=samples.epochs,
        pts=samples.pts,
        times_s=samples.times_s,
        missing=(*_failed(view, video), *_gaps(view, video)),
        heads=_curves(dataset, video_id),
    )


def _failed(view: LakeView, video: Document) -> list[Missing]:
    table = view.now.quarantine
    duration_s = video["duration_s"]
    rows = table.filter(pc.equal(table["video_id"], video["video_id"])).to_pylist()
    end_s = float(duration_s) if isinstance(duration_s, int | float) else 0.0
    return [
        Missing(
            kind="failed",
            start_s=row["start_s"] or 0.0,
            end_s=end_s if row["end_s"] is None else row["end_s"],
            reason=row["reason"],
            detail=row["detail"],
        )
        for row in rows
    ]


def _gaps(view: LakeView, video: Document) -> list[Missing]:
    """The slots that a session of a stream lacks, those between sessions left out."""
    stream = video.get("stream")
    if not isinstance(stream, str):
        return []
    return [
        Missing(
            kind="gap",
            start_s=gap.start_s,
            end_s=gap.end_s,
            reason=str(gap.reason),
            detail=f"{gap.num_slots} samples",
        )
        for stored in gaps(view.uri, stream)
        if not stored.is_filled and (gap := stored.gap).video_id == video["video_id"]
        if gap.start_s is not None and gap.end_s is not None
    ]


def _curves(dataset: Dataset, video_id: str) -> tuple[HeadCurves, ...]:
    declaration = declaration_of(dataset.files, PREDICTIONS)
    if declaration is None:
        return ()
    table = _rows_of(dataset, PREDICTIONS, video_id, ["video_id", "time_s", "probabilities"]).sort_by("time_s")
    if not len(table):
        return ()
    made_by = declaration.made_by
    labels = texts(made_by, "labels")
    flat = table["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    probabilities = flat.reshape(len(table), len(labels)).T
    chosen = np.sort(np.argsort(-probabilities.mean(axis=1), kind="stable")[:_MOST_CURVES])
    return (
        HeadCurves(
            head=f"{text_of(made_by, 'head')}@{whole(made_by, 'version')}",
            labels=tuple(labels[at] for at in chosen),
            times_s=table["time_s"].to_numpy(),
            probabilities=np.ascontiguousarray(probabilities[chosen], np.float32),
        ),
    )


def _rows_of(dataset: Dataset, name: str, video_id: str, columns: list[str]) -> pa.Table:
    """The rows of one video: of a file whose statistics exclude it, the footer alone is read."""
    files = dataset.files
    wanted = pads.field("video_id") == video_id
    parts = [
        files.read_ours(part, lambda file: pq.read_table(file, columns=columns, filters=wanted))
        for part in files.tables(name)
    ]
    if not parts:
        return pa.table({column: pa.array([], pa.null()) for column in columns})
    return pa.concat_tables([part.replace_schema_metadata(None) for part in parts], promote_options="permissive")
