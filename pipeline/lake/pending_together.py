"""What several datasets, or tables of one, lack of the same videos, so that one decoding pass serves all that lack it.

Each has a plan and a ledger of its own: made at another time, it may have cut a video elsewhere, or be further on.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import TASK_COLUMNS, Wanted
from pipeline.lake.planned import Planned
from pipeline.records.ids import id_bytes, segment_keys

_NO_NUMBER = -(2**62)
_NO_TIME = -1e300
_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one of them has planned, and what of it is settled."""

    planned: Planned
    ledger: Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingTogether:
    """Segments to decode that the same ones lack."""

    lacking: tuple[int, ...]
    """Their places among all."""
    tasks: pa.Table
    """``TASKS`` rows in the order of video and segment."""


def pending_together(progress: Sequence[Progress], wanted: Wanted) -> Iterator[PendingTogether]:
    """What is left to do, grouped by those that lack it: each segment once for all whose plan has cut it alike.

    It comes part by part of the plans: memory does not grow with them.
    """
    for place, mine in enumerate(progress):
        for _, part in mine.planned.parts(TASK_COLUMNS):
            yield from _pending(part, progress, wanted, place=place)


def pending_of(progress: Sequence[Progress], wanted: Wanted, videos: NDArray[np.bytes_]) -> Iterator[PendingTogether]:
    """The same of these videos alone; reads no files of the plans without any."""
    for place, mine in enumerate(progress):
        yield from _pending(mine.planned.of_videos(videos, TASK_COLUMNS), progress, wanted, place=place)


def pending_in(part: pa.Table, ledgers: Mapping[int, Ledger], wanted: Wanted) -> Iterator[PendingTogether]:
    """The same of rows of a plan, ``TASK_COLUMNS`` at least, that those with these ledgers have in common."""
    tables = {place: wanted.tasks(part, ledger) for place, ledger in ledgers.items()}
    yield from _grouped({place: tasks for place, tasks in tables.items() if len(tasks)})


def _pending(part: pa.Table, progress: Sequence[Progress], wanted: Wanted, *, place: int) -> Iterator[PendingTogether]:
    """Of rows of the plan of the one at ``place``, without what those before it have been looked at for."""
    videos = _without(part, progress[:place])
    tables = enumerate(_tasks_of(videos, progress[place:], wanted), start=place) if len(videos) else ()
    yield from _grouped({at: tasks for at, tasks in tables if len(tasks)})


def _without(part: pa.Table, earlier: Sequence[Progress]) -> pa.Table:
    """The videos of a part that are not in the plans of those before, with which they have been looked at."""
    is_new = np.ones(len(part), np.bool_)
    for each in earlier:
        is_new &= ~each.planned.ids.mask(part["video_id"])
    return part if is_new.all() else part.filter(pa.array(is_new))


def _tasks_of(videos: pa.Table, progress: Sequence[Progress], wanted: Wanted) -> Iterator[pa.Table]:
    """What each of them lacks of the videos, which are rows of the first one's plan."""
    for each in progress:
        is_one_plan = each.planned is progress[0].planned
        rows = videos if is_one_plan else each.planned.of_videos(id_bytes(videos["video_id"]), TASK_COLUMNS)
        yield wanted.tasks(rows, each.ledger)


def _grouped(tables: dict[int, pa.Table]) -> Iterator[PendingTogether]:
    """Tasks that are not none, by the places of those that lack them."""
    if len(tables) < 2:
        yield from (PendingTogether(lacking=(place,), tasks=tasks) for place, tasks in tables.items())
        return
    # Keys begin with video and segment, so they are sorted as tasks are.
    keys = [_keys(tasks) for tasks in tables.values()]
    distinct, at, back = np.unique(np.concatenate(keys), return_index=True, return_inverse=True)
    lacks = np.zeros((len(distinct), len(tables)), np.bool_)
    lacks[back, np.repeat(np.arange(len(tables)), [len(each) for each in keys])] = True
    tasks = pa.concat_tables(tables.values())
    for pattern in np.unique(lacks, axis=0):
        rows = at[(lacks == pattern).all(axis=1)]
        lacking = tuple(place for place, is_lacking in zip(tables, pattern, strict=True) if is_lacking)
        yield PendingTogether(lacking=lacking, tasks=tasks.take(pa.array(rows)))


def _keys(tasks: pa.Table) -> NDArray[np.bytes_]:
    """What tells a piece of work from all others: video, segment, attempt, and what the plan says of the segment."""
    segments = tasks["segment"].combine_chunks()
    fixed = [field.name for field in segments.type if not pa.types.is_list(field.type)]
    values = [_bits(pc.struct_field(segments, name)) for name in fixed]
    targets = [
        b"" if each is None else hashlib.blake2b(repr(each).encode(), digest_size=_DIGEST_BYTES).digest()
        for each in pc.struct_field(segments, "targets").to_pylist()
    ]
    index = pc.struct_field(segments, "index").to_numpy(zero_copy_only=False)
    columns = [
        segment_keys(id_bytes(tasks["video_id"]), index),
        tasks["attempts"].to_numpy().astype(">i8"),
        *values,
        np.array(targets, f"S{_DIGEST_BYTES}"),
    ]
    split = [np.ascontiguousarray(each).view(np.uint8).reshape(len(tasks), -1) for each in columns]
    keys = np.concatenate(split, axis=1)
    return np.ascontiguousarray(keys).view(f"S{keys.shape[1]}").reshape(-1)


def _bits(column: pa.Array) -> NDArray[np.int64]:
    missing = _NO_TIME if pa.types.is_floating(column.type) else _NO_NUMBER
    kind = pa.float64() if pa.types.is_floating(column.type) else pa.int64()
    bits: NDArray[np.int64] = pc.fill_null(column.cast(kind), missing).to_numpy(zero_copy_only=False).view(np.int64)
    return bits
