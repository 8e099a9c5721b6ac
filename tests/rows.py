"""Rows of plans and of finished segments, as small as they can be, for tests of what is done with them."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.errors import INPUT_ERRORS
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.records.model_info import FeatureType, ModelInfo, Preprocessing
from pipeline.records.rows import embedded_rows, output_rows, samples_row, table_of
from pipeline.records.schemas import PLAN, TASKS
from pipeline.records.segments import FrameMark, Quarantined, Segment, SegmentSamples, VideoFacts, Window
from pipeline.records.shards import WHOLE, Shard
from pipeline.records.videos import SegmentTask

DIM = 4
TINY = Preprocessing(resize_px=4, crop_px=(4, 4))
FACTS = VideoFacts(
    stream_index=0,
    time_base=Fraction(1, 1000),
    origin_pts=0,
    start_pts=0,
    is_sequential=False,
    frame_rate_hz=Fraction(30000, 1001),
    container="mov",
    codec="h264",
    pix_fmt="yuv420p",
    width=64,
    height=48,
    rotation=0,
    duration_s=36.0,
    creation_time="2023-11-14T22:13:20.123456Z",
)


def config(*, dtype: FeatureType = "float32", model: str = "tiny", sample: str = "fps:1") -> DatasetConfig:
    info = ModelInfo(name=model, dim=DIM, weights_digest="sha256:00", preprocessing=TINY)
    return DatasetConfig(model=info, sample=sample, precision="fp32", dtype=dtype)


def dataset_info(*, dtype: FeatureType = "float32") -> DatasetInfo:
    return DatasetInfo(config=config(dtype=dtype), weights="random:0")


def new_dataset(folder: Path | str, *, dtype: FeatureType = "float32", shard: Shard = WHOLE) -> tuple[Dataset, str]:
    """A dataset without a video, and the token of its lease."""
    dataset = Dataset.at(str(folder))
    dataset.store.ensure_writable()
    token = dataset.backend.acquire(slot=shard).token
    dataset.create(dataset_info(dtype=dtype))
    return dataset, token


def id_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:20]


def segment(index: int = 0, *, cost_s: float = 1.0, key_pts: int | None = None, num_samples: int = 2) -> Segment:
    """The ``index``-th stretch of twelve seconds."""
    return Segment(
        index=index,
        seek_to=None,
        key_pts=index * 12_000 if key_pts is None else key_pts,
        window=Window(first=index * 12, end=index * 12 + 12),
        targets=None,
        start_s=index * 12.0,
        end_s=index * 12.0 + 12,
        num_samples=num_samples,
        cost_s=cost_s,
    )


def planned(
    name: str,
    *,
    segments: Sequence[Segment] | int = 1,
    attempts: int = 1,
    reason: str | None = None,
    range_start: str | None = None,
    **further: Any,
) -> dict[str, Any]:
    """A row of ``PLAN``; with a ``reason`` one of a video that could not be planned."""
    cut = [segment(index) for index in range(segments)] if isinstance(segments, int) else segments
    return {
        "video_id": id_of(name),
        "uri": f"/videos/{name}.mp4",
        "size_bytes": 1000,
        "etag": None,
        "mtime_ns": 1_700_000_000_123_456_789,
        "range_start": range_start,
        "range_end": None,
        "attempts": attempts,
        "facts": None if reason else FACTS.to_json(),
        "segments": None if reason else [each.to_json() for each in cut],
        "reason": reason,
        "detail": None if reason is None else "why",
        **further,
    }


def plan_table(*rows: dict[str, Any]) -> pa.Table:
    """``PLAN`` rows, further columns typed as Arrow sees them."""
    further = [name for name in rows[0] if name not in PLAN.names]
    table = table_of(rows, PLAN)
    for name in further:
        table = table.append_column(name, pa.array([row[name] for row in rows]))
    return table


def task(name: str, piece: Segment, *, attempts: int = 1) -> dict[str, Any]:
    row = planned(name, segments=[piece], attempts=attempts)
    return {name: row.get(name) for name in TASKS.names} | {"locator": row["uri"], "segment": piece.to_json()}


def finished(
    name: str,
    index: int = 0,
    *,
    num_samples: int = 2,
    reason: str | None = None,
    attempts: int = 1,
    num_corrupt: int = 0,
) -> pa.Table:
    """An ``EMBEDDED`` row. Its features follow from the video, the segment and the place."""
    piece = segment(index)
    failure = None
    if reason is not None:
        failure = Quarantined.of(INPUT_ERRORS[reason](name, "why"), segment=piece, missing_start_s=piece.start_s + 3)
    marks = tuple(
        FrameMark(
            epoch=0,
            pts=(index * 12 + at) * 1000,
            time_s=index * 12.0 + at,
            is_keyframe=at == 0,
            is_corrupt=at < num_corrupt,
        )
        for at in range(num_samples)
    )
    pixels = np.zeros((num_samples, 4, 4, 3), np.uint8)
    decoded = SegmentSamples(segment=piece, marks=marks, pixels=(pixels,), failure=failure)
    samples = samples_row(SegmentTask.from_row(task(name, piece, attempts=attempts)), decoded)
    return embedded_rows(output_rows(samples, [features_of(name, index, num_samples)]), place=0)


def features_of(name: str, index: int, num_samples: int) -> Any:
    seed = int(id_of(name)[:8], 16) + index
    return np.random.default_rng(seed).random((num_samples, DIM), np.float32)
