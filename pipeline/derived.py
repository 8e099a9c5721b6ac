"""What is left to do, the ``videos`` and ``quarantine`` tables, and the totals: derived from plan and footers.

Part by part of the plan, so that a driver's memory does not grow with the archive. Shards that run side by side replace
only the files of parts with videos of theirs, and only the version that was there before they began to read: so what
stands in a file at last was read after all that was committed before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config import Shard
from pipeline.current import listed
from pipeline.dataset import Dataset
from pipeline.ledger import Ids, Ledger, Planned, id_bytes, in_shard, segment_keys
from pipeline.schemas import PLAN, QUARANTINE, SETTLED, TASKS, VIDEOS

VIDEOS_FOLDER = "videos"
QUARANTINE_FOLDER = "quarantine"
_STATUSES = ("ok", "partial", "failed", "unfinished")


@dataclass(slots=True)
class Totals:
    """What is in a dataset."""

    videos: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STATUSES, 0))
    reasons: dict[str, int] = field(default_factory=dict)
    num_samples: int = 0
    num_segments: int = 0
    num_pending: int = 0
    hours: float = 0.0


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
        is_retry: once more also what failed and kept no rows.
    """
    columns = [name for name in PLAN.names if name in TASKS.names or name == "segments"]
    for _, part in planned.parts(columns):
        segments = _Segments(part, ledger)
        settled = segments.at >= 0
        attempt = np.ones(len(settled), np.int32)
        wanted = ~settled
        if is_retry and settled.any():
            again = settled & ledger.is_repeatable[segments.at]
            attempt[again] = ledger.attempt[segments.at[again]] + 1
            wanted |= again
        if chosen is not None:
            wanted &= chosen.mask(part["video_id"])[segments.owner]
        rows = np.flatnonzero(wanted)
        if len(rows):
            yield _tasks(part, segments, rows, attempt=attempt[rows], locators=locators or {})


def unsettled_failures(planned: Planned, ledger: Ledger) -> Iterator[list[dict[str, Any]]]:
    """The ``SETTLED`` entries of videos that could not be planned and that no footer tells of, part by part."""
    for _, part in planned.parts(["video_id", "attempt", "reason", "detail"]):
        failed = part.filter(pc.is_valid(part["reason"]))
        failed = failed.filter(pa.array(~ledger.holds(failed["video_id"], failed["attempt"])))
        blank = dict.fromkeys(SETTLED.names) | {"num_samples": 0, "num_corrupt": 0}
        if len(failed):
            yield [blank | row | {"outcome": row["reason"]} for row in failed.to_pylist()]


def failed_plans(planned: Planned) -> Iterator[pa.Table]:
    """The videos that could not be planned, as rows of ``planned.schema``, part by part: ``retry`` plans them again."""
    for _, part in planned.parts():
        failed = part.filter(pc.is_valid(part["reason"]))
        if len(failed):
            yield failed


def derive(dataset: Dataset, *, shard: Shard, token: str) -> Totals:
    """Replace ``videos`` and ``quarantine`` by what plan and footers say now, file by file; returns the totals.

    Files that belong to no part of the plan go, unless other shards may be at work.
    """
    while True:
        tables = _Tables(dataset, is_alone=shard.count == 1, token=token)
        found, schema = Totals(), VIDEOS
        for derived in _derived(dataset):
            _count(found, derived)
            schema = derived.videos.schema
            if in_shard(id_bytes(derived.videos["video_id"]), shard).any():
                tables.put(VIDEOS_FOLDER, derived.part, derived.videos)
                tables.put(QUARANTINE_FOLDER, derived.part, derived.quarantine)
        tables.close(empty={VIDEOS_FOLDER: schema.empty_table(), QUARANTINE_FOLDER: QUARANTINE.empty_table()})
        if tables.are_current:
            return found


class _Tables:
    """The files of the derived folders as they were found, and their replacements.

    Attributes:
        are_current: whether no other run has replaced one of them meanwhile, by what it read later.
    """

    def __init__(self, dataset: Dataset, *, is_alone: bool, token: str) -> None:
        self._dataset = dataset
        self._is_alone = is_alone
        self._token = token
        self._found = {folder: dataset.derived_versions(folder) for folder in (VIDEOS_FOLDER, QUARANTINE_FOLDER)}
        self._kept: dict[str, set[str]] = {folder: set() for folder in self._found}
        self.are_current = True

    def put(self, folder: str, part: str, table: pa.Table) -> None:
        """Replace the file of a part; without rows it is needed only in the place of one that may not be removed."""
        is_there = f"{folder}/{part}.parquet" in self._found[folder]
        if len(table) or (is_there and not self._is_alone):
            self._replace(folder, part, table)

    def close(self, *, empty: Mapping[str, pa.Table]) -> None:
        """See to it that a reader's glob finds a file, be there rows or not, and remove what is left over."""
        for folder, table in empty.items():
            if not self._kept[folder] and (self._is_alone or not self._found[folder]):
                self._replace(folder, "empty", table)
            if self._is_alone:
                self._dataset.keep_derived(folder, frozenset(self._kept[folder]), token=self._token)

    def _replace(self, folder: str, part: str, table: pa.Table) -> None:
        name = f"{folder}/{part}.parquet"
        version = self._found[folder].get(name)
        self.are_current &= self._dataset.replace_derived(name, table, version=version, token=self._token)
        self._kept[folder].add(name)


def totals(dataset: Dataset) -> Totals:
    """The totals, with nothing written."""
    found = Totals()
    for derived in _derived(dataset):
        _count(found, derived)
    return found


class _Segments:
    """The planned segments of a part: whose they are, and their places in the ledger, -1 where not settled."""

    def __init__(self, part: pa.Table, ledger: Ledger) -> None:
        lists = part["segments"].combine_chunks()
        self.values = lists.flatten()
        self.owner: NDArray[np.int64] = pc.list_parent_indices(lists).to_numpy()
        index = pc.struct_field(self.values, "index").to_numpy(zero_copy_only=False)
        self.at = ledger.find(segment_keys(id_bytes(part["video_id"])[self.owner], index))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Derived:
    part: str
    videos: pa.Table
    quarantine: pa.Table
    num_settled: int


def _derived(dataset: Dataset) -> Iterator[_Derived]:
    current = listed(dataset)
    planned, ledger = Planned(dataset), Ledger.of(dataset.settled_parts())
    further = [name for name in planned.schema.names if name not in PLAN.names]
    for name, part in planned.parts():
        segments = _Segments(part, ledger)
        settled = segments.at >= 0
        at, owner = segments.at[settled], segments.owner[settled]
        is_current = np.ones(len(part), np.bool_) if current is None else current.mask(part["video_id"])
        videos = _videos(part, ledger, at=at, owner=owner, is_current=is_current)
        for column in further:
            videos = videos.append_column(planned.schema.field(column), part[column])
        yield _Derived(
            part=name, videos=videos, quarantine=_quarantine(part, ledger, at=at, owner=owner), num_settled=len(at)
        )


def _videos(
    part: pa.Table,
    ledger: Ledger,
    *,
    at: NDArray[np.int64],
    owner: NDArray[np.int64],
    is_current: NDArray[np.bool_],
) -> pa.Table:
    def per_video(values: NDArray[Any]) -> NDArray[np.int64]:
        return np.bincount(owner, values, minlength=len(part)).astype(np.int64)

    num_segments = pc.fill_null(pc.list_value_length(part["segments"]), 0).to_numpy()
    num_samples = per_video(ledger.num_samples[at])
    is_failed = pc.is_valid(part["reason"]).to_numpy()
    is_unfinished = ~is_failed & (per_video(np.ones(len(at))) < num_segments)
    has_flaw = per_video(~ledger.is_ok[at] | (ledger.num_corrupt[at] > 0)) > 0
    has_some = (num_samples > 0) | (per_video(ledger.is_ok[at]) > 0)
    status = np.select(
        [is_failed, is_unfinished, ~has_flaw, has_some], ["failed", "unfinished", "ok", "partial"], "failed"
    )
    facts = part["facts"].combine_chunks()
    columns = {
        **{name: part[name] for name in ("video_id", "uri", "size_bytes", "etag")},
        **{field.name: pc.struct_field(facts, field.name) for field in facts.type if field.name in VIDEOS.names},
        "mtime": pc.divide(part["mtime_ns"], 1000).cast(pa.timestamp("us")),
        "is_current": pa.array(is_current),
        "fps": _numbers(pc.struct_field(facts, "frame_rate_hz")),
        "start_s": _numbers(part["range_start"]),
        "end_s": _numbers(part["range_end"]),
        "num_segments": pa.array(num_segments),
        "num_samples": pa.array(num_samples),
        "status": pa.array(status, pa.string()),
    }
    return pa.table({name: columns[name] for name in VIDEOS.names}).cast(VIDEOS)


def _quarantine(part: pa.Table, ledger: Ledger, *, at: NDArray[np.int64], owner: NDArray[np.int64]) -> pa.Table:
    """The failed segments, and the videos that could not be planned."""
    places = ledger.failure[at]
    rows = ledger.failures.take(pa.array(places[places >= 0]))
    lost = rows.append_column("uri", part["uri"].take(pa.array(owner[places >= 0])))
    lost = lost.rename_columns({"outcome": "reason", "attempt": "attempts"}).select(QUARANTINE.names)
    failed = part.filter(pc.is_valid(part["reason"])).select(["video_id", "uri", "reason", "detail", "attempt"])
    whole = {name: pa.nulls(len(failed), QUARANTINE.field(name).type) for name in ("segment", "start_s", "end_s")}
    named = failed.rename_columns({"attempt": "attempts"})
    for name, nulls in whole.items():
        named = named.append_column(name, nulls)
    return pa.concat_tables([lost.cast(QUARANTINE), named.select(QUARANTINE.names).cast(QUARANTINE)])


def _count(found: Totals, derived: _Derived) -> None:
    videos = derived.videos
    for counts, column in ((found.videos, videos["status"]), (found.reasons, derived.quarantine["reason"])):
        for entry in pc.value_counts(column).to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    num_segments = pc.sum(videos["num_segments"]).as_py() or 0
    found.num_samples += pc.sum(videos["num_samples"]).as_py() or 0
    found.num_segments += num_segments
    found.num_pending += num_segments - derived.num_settled
    found.hours += (pc.sum(videos["duration_s"]).as_py() or 0.0) / 3600


def _tasks(
    part: pa.Table,
    segments: _Segments,
    rows: NDArray[np.int64],
    *,
    attempt: NDArray[np.int32],
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
        "attempt": pa.array(attempt, pa.int32()),
        "segment": segments.values.take(pa.array(rows)),
    }
    tasks = pa.table({name: columns[name] for name in TASKS.names}, schema=TASKS)
    order = pc.sort_indices(video.select(["video_id"]), sort_keys=[("video_id", "ascending")])
    return tasks.take(order)


def _numbers(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Fractions, written as text, as numbers."""
    return pa.array([None if text is None else float(Fraction(text)) for text in texts.to_pylist()], pa.float64())
