"""The Arrow schemas of what passes between Ray operators and of what lies on disk, and the only row codecs."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.records import OK, FeatureType, SegmentSamples

_SEGMENT = pa.struct(
    [
        ("index", pa.int32()),
        ("seek_to", pa.int64()),
        ("key_pts", pa.int64()),
        ("window_first", pa.int64()),
        ("window_end", pa.int64()),
        ("targets", pa.list_(pa.int64())),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("num_samples", pa.int32()),
        ("cost_s", pa.float64()),
        ("missing_from_s", pa.float64()),
    ]
)
_FACTS = pa.struct(
    [
        ("stream_index", pa.int32()),
        ("time_base", pa.string()),
        ("origin_pts", pa.int64()),
        ("start_pts", pa.int64()),
        ("is_sequential", pa.bool_()),
        ("frame_rate_hz", pa.string()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("pix_fmt", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("duration_s", pa.float64()),
        ("creation_time", pa.string()),
    ]
)
_IDENTITY = [
    ("video_id", pa.string()),
    ("uri", pa.string()),
    ("size_bytes", pa.int64()),
    ("etag", pa.string()),
    ("mtime_ns", pa.int64()),
    ("range_start", pa.string()),
    ("range_end", pa.string()),
]

SOURCES = pa.schema([*_IDENTITY, ("locator", pa.string()), ("attempt", pa.int32())])
"""A row a video to plan. ``locator`` opens it, may hold a signature and never reaches the disk."""

PLAN = pa.schema(
    [
        *_IDENTITY,
        ("attempt", pa.int32()),
        ("facts", _FACTS),
        ("segments", pa.list_(_SEGMENT)),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""A row a planned video: what it is and where it is cut, or the reason that it cannot be."""

TASKS = pa.schema(
    [*_IDENTITY, ("locator", pa.string()), ("attempt", pa.int32()), ("facts", _FACTS), ("segment", _SEGMENT)]
)
"""A row a segment to decode; a block of them is one task."""

_SETTLED = [
    ("video_id", pa.string()),
    ("segment", pa.int32()),
    ("attempt", pa.int32()),
    ("outcome", pa.string()),
    ("detail", pa.string()),
    ("start_s", pa.float64()),
    ("end_s", pa.float64()),
    ("num_samples", pa.int32()),
    ("num_corrupt", pa.int32()),
]

SETTLED = pa.schema(_SETTLED)
"""A row a segment, or with ``segment`` null a whole video: how it ended, and from when to when something is missing.

The entries of a features file's footer.
"""

_MARKS = [
    ("epoch", pa.list_(pa.int32())),
    ("pts", pa.list_(pa.int64())),
    ("time_s", pa.list_(pa.float64())),
    ("is_keyframe", pa.list_(pa.bool_())),
    ("is_corrupt", pa.list_(pa.bool_())),
]
_DONE = [*_SETTLED, ("video_s", pa.float64()), ("uri", pa.string()), ("time_base", pa.string()), *_MARKS]

SAMPLES = pa.schema([*_DONE, ("pixels", pa.large_binary())])
"""A row a decoded segment of ``video_s`` seconds; ``pixels`` is ``uint8[T, H, W, 3]``.

Bytes travel without a copy, whatever their shape.
"""

EMBEDDED = pa.schema([*_DONE, ("features", pa.large_binary())])
"""A row a segment with its features, ``float32[T, D]``."""

QUARANTINE = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("segment", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
    ]
)

VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("etag", pa.string()),
        ("mtime", pa.timestamp("us", tz="UTC")),
        ("stream_index", pa.int32()),
        ("start_pts", pa.int64()),
        ("creation_time", pa.string()),
        ("is_current", pa.bool_()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("pix_fmt", pa.string()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("num_segments", pa.int32()),
        ("num_samples", pa.int32()),
        ("status", pa.string()),
    ]
)


def features_schema(dim: int, *, dtype: FeatureType, metadata: dict[bytes, bytes] | None = None) -> pa.Schema:
    """The ``features`` table: a row a sample."""
    value = pa.float16() if dtype == "float16" else pa.float32()
    fields = [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("segment", pa.int32()),
        ("epoch", pa.int32()),
        ("pts", pa.int64()),
        ("time_base", pa.string()),
        ("time_s", pa.float64()),
        ("is_keyframe", pa.bool_()),
        ("is_corrupt", pa.bool_()),
        ("feature", pa.list_(value, dim)),
    ]
    return pa.schema(fields, metadata=metadata)


def samples_row(task: dict[str, Any], decoded: SegmentSamples) -> pa.Table:
    """The one-row ``SAMPLES`` table of a decoded segment; ``task`` is its row of ``TASKS``."""
    marks, failure = decoded.marks, decoded.failure
    row = {
        "video_id": [task["video_id"]],
        "segment": [decoded.segment.index],
        "attempt": [task["attempt"]],
        "outcome": [OK if failure is None else failure.reason],
        "detail": [None if failure is None else failure.detail],
        "start_s": [decoded.segment.start_s if failure is None else failure.start_s],
        "end_s": [decoded.segment.end_s if failure is None else failure.end_s],
        "num_samples": [len(marks)],
        "num_corrupt": [sum(mark.is_corrupt for mark in marks)],
        "video_s": [max(0.0, decoded.segment.end_s - decoded.segment.start_s)],
        "uri": [task["uri"]],
        "time_base": [task["facts"]["time_base"]],
        **{name: [[getattr(mark, name) for mark in marks]] for name, _ in _MARKS},
    }
    pixels = np.ascontiguousarray(decoded.pixels)
    offsets = pa.py_buffer(np.array([0, pixels.nbytes], np.int64))
    binary = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)])
    columns = [pa.array(row[field.name], field.type) for field in SAMPLES if field.name != "pixels"]
    return pa.Table.from_arrays([*columns, binary], schema=SAMPLES)


def pixels_of(samples: pa.Table, *, height: int, width: int) -> list[NDArray[np.uint8]]:
    """The pictures of each row, ``uint8[T, H, W, 3]``, without a copy."""
    buffers = _buffers(samples["pixels"])
    return [np.frombuffer(buffer, np.uint8).reshape(-1, height, width, 3) for buffer in buffers]


def embedded_rows(samples: pa.Table, features: NDArray[np.float32]) -> pa.Table:
    """``SAMPLES`` rows with their pictures replaced by ``float32[sum T, D]`` features, without a copy."""
    counts = samples["num_samples"].to_numpy()
    if features.dtype != np.float32 or features.ndim != 2 or len(features) != counts.sum():
        raise ValueError(f"{features.dtype}{features.shape} are not the features of {counts.sum()} samples")
    data = pa.py_buffer(np.ascontiguousarray(features))
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) * features.shape[1] * features.itemsize
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(counts), [None, pa.py_buffer(ends), data])
    return samples.drop_columns(["pixels"]).append_column(EMBEDDED.field("features"), column).cast(EMBEDDED)


def last_attempts(embedded: pa.Table) -> pa.Table:
    """``EMBEDDED`` or ``SETTLED`` rows sorted by video and segment, each once: the last attempt."""
    keys = [("video_id", "ascending"), ("segment", "ascending"), ("attempt", "ascending")]
    order = pc.sort_indices(embedded, sort_keys=keys).to_numpy()
    names = (
        embedded["video_id"].take(pa.array(order)).to_pylist(),
        embedded["segment"].take(pa.array(order)).to_pylist(),
    )
    rows = list(zip(*names, strict=True))
    last = [row for at, row in enumerate(order) if at + 1 == len(rows) or rows[at] != rows[at + 1]]
    return embedded if last == list(range(len(embedded))) else embedded.take(pa.array(last, pa.int64()))


def feature_table(embedded: pa.Table, *, schema: pa.Schema) -> pa.Table:
    """A row a sample, of ``EMBEDDED`` rows, in their order; the features are copied once."""
    kind = schema.field("feature").type
    counts = embedded["num_samples"].to_numpy()
    owner = pa.array(np.repeat(np.arange(len(counts)), counts))
    values = [np.frombuffer(buffer, np.float32) for buffer in _buffers(embedded["features"])]
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, as it should
        flat = np.concatenate(values or [np.empty(0, np.float32)], dtype=kind.value_type.to_pandas_dtype())
    columns = {
        "feature": pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size),
        **{name: embedded[name].take(owner) for name in ("video_id", "uri", "segment", "time_base")},
        **{name: pc.list_flatten(embedded[name]) for name, _ in _MARKS},
    }
    return pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)


def settled_entries(embedded: pa.Table) -> list[dict[str, Any]]:
    """The footer's entries for ``EMBEDDED`` (or ``SETTLED``) rows."""
    entries: list[dict[str, Any]] = embedded.select(SETTLED.names).to_pylist()
    return entries


def table_of(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table; keys that are no column are left out."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table of many, or an empty one."""
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _buffers(column: pa.ChunkedArray) -> Iterator[pa.Buffer]:
    """Each value of a ``large_binary`` column, without a copy: Arrow's own scalars make one."""
    for chunk in column.chunks:
        if len(chunk):
            _, offsets, data = chunk.buffers()
            ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1].tolist()
            data = pa.py_buffer(b"") if data is None else data
            yield from (data.slice(first, last - first) for first, last in pairwise(ends))
