"""What is left to do: planned, and not settled."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.lake.ledger import Ledger
from pipeline.lake.planned import Planned
from pipeline.records.ids import Ids, id_bytes, segment_keys
from pipeline.records.schemas import PLAN, TASKS
from pipeline.records.settled import Settled


class PlannedSegments:
    """The planned segments of a part: whose they are, and their places in the ledger, -1 where not settled."""

    def __init__(self, part: pa.Table, ledger: Ledger) -> None:
        lists = part["segments"].combine_chunks()
        self.values = lists.flatten()
        self.owner: NDArray[np.int64] = pc.list_parent_indices(lists).to_numpy()
        index = pc.struct_field(self.values, "index").to_numpy(zero_copy_only=False)
        self.at = ledger.find(segment_keys(id_bytes(part["video_id"])[self.owner], index))


def pending_tasks(
    planned: Planned,
    ledger: Ledger,
    *,
    chosen: Ids | None = None,
    locators: Mapping[str, str] | None = None,
    is_retry: bool = False,
) -> Iterator[pa.Table]:
    """What is left to decode, as ``TASKS`` rows in the order of video and segment, for each part of the plan.

    Args:
        planned: the plan.
        ledger: what is settled.
        chosen: only these videos; ``None``: all.
        locators: of the videos whose address is not their ``uri``.
        is_retry: once more also what failed and kept no rows; but nothing whose address was signed.
    """
    wanted = Wanted(chosen=chosen, locators=locators or {}, is_retry=is_retry)
    for _, part in planned.parts(TASK_COLUMNS):
        tasks = wanted.tasks(part, ledger)
        if len(tasks):
            yield tasks


TASK_COLUMNS = tuple(name for name in PLAN.names if name in TASKS.names or name in ("segments", "is_signed"))
"""What ``Wanted.tasks`` needs of a plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of what is left to do: see ``pending_tasks``."""

    chosen: Ids | None
    locators: Mapping[str, str]
    is_retry: bool

    def tasks(self, part: pa.Table, ledger: Ledger) -> pa.Table:
        """Of some videos, ``TASK_COLUMNS`` of a plan: ``TASKS`` rows in the order of video and segment."""
        segments = PlannedSegments(part, ledger)
        settled = segments.at >= 0
        attempts = np.ones(len(settled), np.int32)
        wanted = ~settled
        if self.is_retry and settled.any():
            again = settled & ledger.is_repeatable[segments.at]
            attempts[again] = ledger.attempts[segments.at[again]] + 1
            wanted |= again
        if self.is_retry:
            wanted &= ~_is_signed(part)[segments.owner]
        if self.chosen is not None:
            wanted &= self.chosen.mask(part["video_id"])[segments.owner]
        rows = np.flatnonzero(wanted)
        return _tasks(part, segments, rows, attempts=attempts[rows], locators=self.locators)


def unsettled_videos(planned: Planned, ledger: Ledger) -> Ids:
    """The videos with a planned segment that is not settled."""
    found = []
    for _, part in planned.parts(["video_id", "segments"]):
        segments = PlannedSegments(part, ledger)
        found.append(id_bytes(part["video_id"])[np.unique(segments.owner[segments.at < 0])])
    return Ids(found)


def unsettled_failures(planned: Planned, ledger: Ledger) -> Iterator[list[Settled]]:
    """The outcomes of videos that could not be planned and that no footer tells of, part by part."""
    for _, part in planned.parts(["video_id", "attempts", "reason", "detail"]):
        failed = part.filter(pc.is_valid(part["reason"]))
        entries = failures_in(failed.filter(pa.array(~ledger.holds(failed["video_id"], failed["attempts"]))))
        if entries:
            yield entries


def failures_in(part: pa.Table) -> list[Settled]:
    """The outcomes of those videos of a part that could not be planned."""
    failed = part.filter(pc.is_valid(part["reason"])).select(["video_id", "attempts", "reason", "detail"])
    return [Settled.failed(row.pop("video_id"), **row) for row in failed.to_pylist()]


def failed_plans(planned: Planned) -> Iterator[pa.Table]:
    """The videos that could not be planned, as rows of ``planned.schema``, part by part: ``retry`` plans them again."""
    for _, part in planned.parts():
        failed = part.filter(pc.is_valid(part["reason"]))
        if len(failed):
            yield failed


def num_signed_failures(planned: Planned, ledger: Ledger) -> int:
    """How many videos ``retry`` would process, were their addresses not signed: signatures are not kept."""
    num_videos = 0
    for _, part in planned.parts(["video_id", "is_signed", "segments", "reason"]):
        signed = part.filter(pa.array(_is_signed(part)))
        segments = PlannedSegments(signed, ledger)
        settled = segments.at >= 0
        is_left = ~settled
        is_left[settled] = ledger.is_repeatable[segments.at[settled]]
        num_videos += len(np.unique(segments.owner[is_left])) + len(signed) - signed["reason"].null_count
    return num_videos


def _is_signed(part: pa.Table) -> NDArray[np.bool_]:
    is_signed: NDArray[np.bool_] = pc.fill_null(part["is_signed"], False).to_numpy()
    return is_signed


def _tasks(
    part: pa.Table,
    segments: PlannedSegments,
    rows: NDArray[np.int64],
    *,
    attempts: NDArray[np.int32],
    locators: Mapping[str, str],
) -> pa.Table:
    owners = pa.array(segments.owner[rows])
    video = part.take(owners)
    uris = video["uri"]
    if locators:
        pairs = zip(video["video_id"].to_pylist(), uris.to_pylist(), strict=True)
        uris = pa.array([locators.get(video_id, uri) for video_id, uri in pairs], pa.string())
    columns = {
        **{name: video[name] for name in TASKS.names if name in video.column_names},
        "locator": uris,
        "attempts": pa.array(attempts, pa.int32()),
        "segment": segments.values.take(pa.array(rows)),
    }
    tasks = pa.table({name: columns[name] for name in TASKS.names}, schema=TASKS)
    order = pc.sort_indices(video.select(["video_id"]), sort_keys=[("video_id", "ascending")])
    return tasks.take(order)
