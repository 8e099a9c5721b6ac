"""Values to rows of Arrow tables, and back: the only row codecs (the schemas: ``schemas.py``)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.records.documents import Document
from pipeline.records.periods import recorded_at
from pipeline.records.schemas import (
    CLIPS,
    EMBEDDED,
    EMBEDDED_WINDOWS,
    MARKS,
    SETTLED,
    WINDOW_MARKS,
    features_column,
    outputs_schema,
    pixels_column,
    samples_schema,
)
from pipeline.records.segments import FrameMark, SegmentSamples
from pipeline.records.settled import Settled
from pipeline.records.tables import CAPTURED_AT, MOMENT, PIXELS
from pipeline.records.thumbnails import THUMBNAILS, thumbnails_array
from pipeline.records.videos import SegmentTask
from pipeline.records.windows import Clip, Windows


def samples_row(task: SegmentTask, decoded: SegmentSamples, *, windows: Windows | None = None) -> pa.Table:
    """The one-row table of ``samples_schema`` of the decoded segment of a task."""
    failure = decoded.failure
    marks, about_windows = (decoded.marks, {}) if windows is None else row_marks(decoded, windows)
    row = {
        "video_id": [task.video.video_id],
        "segment": [decoded.segment.index],
        "attempts": [task.video.attempts],
        "reason": [None if failure is None else failure.reason],
        "detail": [None if failure is None else failure.detail],
        "missing_start_s": [None if failure is None else failure.missing_start_s],
        "missing_end_s": [None if failure is None else failure.missing_end_s],
        "num_samples": [len(marks)],
        "num_corrupt": [sum(mark.is_corrupt for mark in marks)],
        "video_s": [max(0.0, decoded.segment.end_s - decoded.segment.start_s)],
        "decoded_frames": [decoded.decoded_frames],
        "uri": [task.video.uri],
        "time_base": [str(task.facts.time_base)],
        "recorded_at": [recorded_at(task.facts.creation_time)],
        **{name: [[getattr(mark, name) for mark in marks]] for name, _ in MARKS},
        **{name: [values] for name, values in about_windows.items()},
    }
    schema = samples_schema(len(decoded.pixels), windows=windows, has_thumbnails=decoded.thumbnails is not None)
    columns = [pa.array(row[field.name], field.type) for field in schema if field.name in row]
    thumbnails = [] if decoded.thumbnails is None else [thumbnails_array(decoded.thumbnails)]
    return pa.Table.from_arrays([*columns, *thumbnails, *map(_one_value, decoded.pixels)], schema=schema)


def row_marks(decoded: SegmentSamples, windows: Windows) -> tuple[Sequence[FrameMark], dict[str, list[int | float]]]:
    """The marks of a segment's rows, which windows give, and what else the columns say of the windows."""
    marks, clips = decoded.marks, decoded.clips or ()
    about: dict[str, list[int | float]] = {
        name: [getattr(clip, name.removeprefix("clip_")) for clip in clips] for name, _ in CLIPS
    }
    if windows.keeps_samples:
        return [marks[place] for clip in clips for place in clip.kept(windows)], about
    rows = [
        replace(marks[clip.begin], is_corrupt=any(mark.is_corrupt for mark in marks[clip.begin : clip.end]))
        for clip in clips
    ]
    ends = [marks[clip.end - 1] for clip in clips]
    about["end_pts"], about["end_time_s"] = [end.pts for end in ends], [end.time_s for end in ends]
    about["num_frames"] = [clip.end - clip.begin for clip in clips]
    return rows, about


def clips_of(samples: pa.Table) -> list[list[Clip]]:
    """The windows among the pictures of each row."""
    columns = [samples[name].to_pylist() for name, _ in CLIPS]
    return [
        [Clip(first=first, begin=begin, end=end) for first, begin, end in zip(*row, strict=True)]
        for row in zip(*columns, strict=True)
    ]


def pixels_of(samples: pa.Table, *, height: int, width: int, place: int = 0) -> list[NDArray[np.uint8]]:
    """The pictures of each row, prepared in one of the ways, ``uint8[T, H, W, 3]``, without a copy."""
    buffers = _buffers(samples[pixels_column(place)])
    return [np.frombuffer(buffer, np.uint8).reshape(-1, height, width, 3) for buffer in buffers]


def output_rows(samples: pa.Table, features: Sequence[NDArray[np.float32]]) -> pa.Table:
    """Decoded segments with what models take replaced by the ``float32[sum T, D]`` features of each, without a copy."""
    schema = outputs_schema(
        len(features),
        has_windows=_has_window_marks(samples),
        has_thumbnails=THUMBNAILS in samples.column_names,
    )
    counts = samples["num_samples"].to_numpy()
    names = [name for name in schema.names if name in samples.column_names]
    columns = [*(samples[name] for name in names), *(_features_array(each, counts=counts) for each in features)]
    return pa.Table.from_arrays(columns, schema=schema)


def embedded_rows(outputs: pa.Table, *, place: int) -> pa.Table:
    """The ``EMBEDDED`` rows of one of the models whose features ``output_rows`` holds, without a copy."""
    schema = EMBEDDED_WINDOWS if _has_window_marks(outputs) else EMBEDDED
    columns = [outputs[features_column(place) if name == "features" else name] for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def pictured_rows(samples: pa.Table, *, place: int) -> pa.Table:
    """As ``embedded_rows``, of decoded segments: the pictures, prepared in one of the ways, stand for features."""
    columns = [samples[pixels_column(place) if name == "features" else name] for name in EMBEDDED.names]
    return pa.Table.from_arrays(columns, schema=EMBEDDED)


def last_attempts(embedded: pa.Table) -> pa.Table:
    """``EMBEDDED`` or ``SETTLED`` rows sorted by video and segment, each once: the last attempt."""
    keys = [("video_id", "ascending"), ("segment", "ascending"), ("attempts", "ascending")]
    order = pc.sort_indices(embedded, sort_keys=keys).to_numpy()
    names = (
        embedded["video_id"].take(pa.array(order)).to_pylist(),
        embedded["segment"].take(pa.array(order)).to_pylist(),
    )
    rows = list(zip(*names, strict=True))
    last = [row for at, row in enumerate(order) if at + 1 == len(rows) or rows[at] != rows[at + 1]]
    return embedded if last == list(range(len(embedded))) else embedded.take(pa.array(last, pa.int64()))


def feature_table(embedded: pa.Table, *, schema: pa.Schema) -> pa.Table:
    """A row a sample, of ``EMBEDDED`` rows, in their order; the features, or pictures, are copied once."""
    content = schema.field(PIXELS if PIXELS in schema.names else "feature")
    counts = embedded["num_samples"].to_numpy()
    owner = pa.array(np.repeat(np.arange(len(counts)), counts))
    of_type = _pictures if pa.types.is_fixed_size_binary(content.type) else _vectors
    columns = {
        content.name: of_type(embedded["features"], content.type),
        **{name: embedded[name].take(owner) for name in ("video_id", "uri", "segment", "time_base")},
        **{name: pc.list_flatten(embedded[name]) for name, _ in (*MARKS, *WINDOW_MARKS) if name in schema.names},
    }
    if CAPTURED_AT in schema.names:
        columns[CAPTURED_AT] = captured_at(embedded["recorded_at"].take(owner), columns["time_s"])
    return pa.Table.from_arrays([columns[field.name] for field in schema], schema=schema)


def captured_at(recorded: pa.ChunkedArray, time_s: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray:
    """The wall clock of samples, by when the first frame of each one's video was recorded; null: not known."""
    offsets = pc.round(pc.multiply(time_s, 1e6)).cast(pa.int64())
    return pc.add(recorded.cast(pa.int64()), offsets).cast(MOMENT)


def settled_of(rows: pa.Table) -> list[Settled]:
    """``SETTLED`` (or ``EMBEDDED``) rows as values."""
    return [Settled.from_json(row) for row in rows.select(SETTLED.names).to_pylist()]


def table_of(rows: Iterable[Document], schema: pa.Schema) -> pa.Table:
    """Rows as a table; keys that are no column are left out."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def concat(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """One table of many, or an empty one."""
    return pa.concat_tables(tables) if tables else schema.empty_table()


def _has_window_marks(rows: pa.Table) -> bool:
    return WINDOW_MARKS[0][0] in rows.column_names


def _one_value(pixels: NDArray[np.uint8]) -> pa.Array:
    """An array of bytes as the only value of a ``large_binary`` column."""
    pixels = np.ascontiguousarray(pixels)
    offsets = pa.py_buffer(np.array([0, pixels.nbytes], np.int64))
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(pixels)])


def _features_array(features: NDArray[np.float32], *, counts: NDArray[np.int32]) -> pa.Array:
    """``float32[sum T, D]`` as a ``large_binary`` value for each segment, of ``counts`` samples each."""
    if features.dtype != np.float32 or features.ndim != 2 or len(features) != counts.sum():
        raise ValueError(f"{features.dtype}{features.shape} are not the features of {counts.sum()} samples")
    data = pa.py_buffer(np.ascontiguousarray(features))
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) * features.shape[1] * features.itemsize
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(counts), [None, pa.py_buffer(ends), data])


def _vectors(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """``float32[sum T, D]`` of all segments as a list a sample."""
    values = [np.frombuffer(buffer, np.float32) for buffer in _buffers(column)]
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, as it should
        flat = np.concatenate(values or [np.empty(0, np.float32)], dtype=kind.value_type.to_pandas_dtype())
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), kind.list_size)


def _pictures(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """``uint8[sum T, H, W, 3]`` of all segments as bytes a sample."""
    values = [np.frombuffer(buffer, np.uint8) for buffer in _buffers(column)]
    flat = np.concatenate(values or [np.empty(0, np.uint8)])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(flat) // kind.byte_width, [None, pa.py_buffer(flat)])


def _buffers(column: pa.ChunkedArray) -> Iterator[pa.Buffer]:
    """Each value of a ``large_binary`` column, without a copy: Arrow's own scalars make one."""
    for chunk in column.chunks:
        if len(chunk):
            _, offsets, data = chunk.buffers()
            ends = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1].tolist()
            data = pa.py_buffer(b"") if data is None else data
            yield from (data.slice(first, last - first) for first, last in pairwise(ends))
