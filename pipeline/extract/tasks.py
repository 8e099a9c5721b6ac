"""Which segments make one wave and one task, and how much work they are: pure grouping, the longest work first."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.extract.sizes import Work


def group_tables(parts: Iterable[pa.Table], *, task_s: float) -> list[pa.Table]:
    """Group ``TASKS`` tables, each sorted by video and segment, into tasks of about ``task_s`` seconds of decoding.

    Part of a long video or several short ones; segments that share their start keyframe stay together, for one pass
    decodes them all. The most expensive tasks come first, so that no worker is left with one at the end. The tasks are
    slices of the parts, without a copy.
    """
    tasks: list[tuple[float, pa.Table]] = []
    for part in parts:
        cost_s = np.append(0.0, np.cumsum(_column(part, "cost_s")))
        first = 0
        for begin, end in _passes(part):
            if begin > first and cost_s[end] - cost_s[first] > task_s:
                tasks.append((cost_s[begin] - cost_s[first], part.slice(first, begin - first)))
                first = begin
        if len(part):
            tasks.append((cost_s[-1] - cost_s[first], part.slice(first)))
    return [task for _, task in sorted(tasks, key=lambda costed: -costed[0])]


def split_tables(parts: Sequence[pa.Table], *, cost_s: float) -> tuple[list[pa.Table], list[pa.Table]]:
    """Take ``cost_s`` seconds of decoding from ``TASKS`` tables, none empty, each sorted by video and segment.

    Returns:
        What is taken, which is longer where that would cut a pass of a decoder; and what is left.
    """
    for number, part in enumerate(parts):
        costs_s = np.cumsum(_column(part, "cost_s"))
        if costs_s[-1] >= cost_s:
            end = next(end for _, end in _passes(part) if costs_s[end - 1] >= cost_s)
            rest = [part.slice(end)] if end < len(part) else []
            return [*parts[:number], part.slice(0, end)], [*rest, *parts[number + 1 :]]
        cost_s -= float(costs_s[-1])
    return list(parts), []


def _passes(part: pa.Table) -> Iterator[tuple[int, int]]:
    """The stretches of rows that one pass of a decoder serves."""
    keys = zip(part["video_id"].to_pylist(), _column(part, "key_pts").tolist(), strict=True)
    begin = 0
    for _, group in groupby(keys):
        end = begin + sum(1 for _ in group)
        yield begin, end
        begin = end


def _column(part: pa.Table, name: str) -> NDArray[np.float64]:
    # What has no key is NaN, which is never equal to itself.
    column = pc.struct_field(part["segment"], name)
    values: NDArray[np.float64] = pc.fill_null(column, -(2**62) if name == "key_pts" else 0.0).to_numpy()
    return values


def work_of(segments: pa.ChunkedArray) -> Work:
    """How much work these segments of a plan are."""
    return Work(
        num_segments=len(segments),
        num_samples=int(_sum(segments, "num_samples")),
        cost_s=_sum(segments, "cost_s"),
        video_s=_sum(segments, "end_s") - _sum(segments, "start_s"),
    )


def _sum(segments: pa.ChunkedArray, name: str) -> float:
    total: float = pc.sum(pc.struct_field(segments, name)).as_py() or 0
    return total
