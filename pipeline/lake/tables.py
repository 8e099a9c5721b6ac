"""The ``videos`` and ``quarantine`` tables, and the totals: derived from plan and footers.

Part by part of the plan, so that a driver's memory does not grow with the archive. Shards that run side by side replace
only the files of parts with videos of theirs.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.lake.appended_file import settled_together
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.declarations import Declaration, declared
from pipeline.lake.derived import Derived, num_rows_of
from pipeline.lake.ledger import Ledger
from pipeline.lake.live.closing import close_abandoned
from pipeline.lake.live.names import is_of_streams
from pipeline.lake.live.stream_status import StreamStatus, StreamTally
from pipeline.lake.live.view import LiveLake
from pipeline.lake.model_folders import datasets_within
from pipeline.lake.pending import PlannedSegments
from pipeline.lake.planned import Planned, listed
from pipeline.lake.shots import predictions_at
from pipeline.records.documents import Document
from pipeline.records.ids import id_bytes, in_shard
from pipeline.records.periods import recorded_at
from pipeline.records.rows import captured_at
from pipeline.records.schemas import PLAN
from pipeline.records.shards import Shard
from pipeline.records.tables import MOMENT, QUARANTINE, VIDEOS

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


def derive(dataset: Dataset, *, shard: Shard, token: str) -> Totals:
    """Replace ``videos`` and ``quarantine`` by what plan and footers say now, file by file; returns the totals.

    Files that belong to no part of the plan go, unless other shards may be at work. Those of streams stay as they are;
    but what a killed writer of one left is published, and its session ends.
    """
    info = dataset.info()
    if info is not None:
        close_abandoned(dataset, info)
    while True:
        videos, quarantine = (
            Derived(dataset.files, table, is_alone=shard.count == 1, token=token) for table in (VIDEOS, QUARANTINE)
        )
        sums, schema = Totals(), VIDEOS.schema
        for derived in _derived(dataset):
            _count(sums, derived)
            schema = derived.videos.schema
            if in_shard(id_bytes(derived.videos["video_id"]), shard).any():
                videos.put(derived.part, derived.videos)
                quarantine.put(derived.part, derived.quarantine)
        videos.close(schema=schema)
        quarantine.close()
        if videos.is_current and quarantine.is_current:
            return sums


def totals(dataset: Dataset, *, ledger: Ledger | None = None) -> Totals:
    """The totals, with nothing written; ``ledger``: of its footers, where they were read already."""
    sums = Totals()
    for derived in _derived(dataset, ledger):
        _count(sums, derived)
    return sums


def derived_tables(dataset: Dataset) -> Iterator[tuple[pa.Table, pa.Table]]:
    """``VIDEOS`` and ``QUARANTINE`` rows as plan and footers have them now, part by part; nothing is written."""
    return ((derived.videos, derived.quarantine) for derived in _derived(dataset))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Derived:
    part: str
    videos: pa.Table
    quarantine: pa.Table
    num_settled: int


def _derived(dataset: Dataset, ledger: Ledger | None = None) -> Iterator[_Derived]:
    current = listed(dataset)
    planned, ledger = Planned(dataset), ledger or Ledger.of(dataset.settled_parts())
    further = [name for name in planned.schema.names if name not in PLAN.names]
    for name, part in planned.parts():
        segments = PlannedSegments(part, ledger)
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
        **{field.name: pc.struct_field(facts, field.name) for field in facts.type if field.name in VIDEOS.schema.names},
        "mtime": pc.divide(part["mtime_ns"], 1000).cast(pa.timestamp("us")),
        "is_current": pa.array(is_current),
        "fps": _numbers(pc.struct_field(facts, "frame_rate_hz")),
        "start_s": _numbers(part["range_start"]),
        "end_s": _numbers(part["range_end"]),
        "num_segments": pa.array(num_segments),
        "num_samples": pa.array(num_samples),
        "status": pa.array(status, pa.string()),
        "stream": pa.nulls(len(part), pa.string()),
    }
    recorded = [recorded_at(text) for text in columns["creation_time"].to_pylist()]
    columns["captured_from"] = pa.array(recorded, MOMENT)
    columns["captured_to"] = captured_at(columns["captured_from"], columns["duration_s"])
    return pa.table({name: columns[name] for name in VIDEOS.schema.names}).cast(VIDEOS.schema)


def _quarantine(part: pa.Table, ledger: Ledger, *, at: NDArray[np.int64], owner: NDArray[np.int64]) -> pa.Table:
    """The failed segments, and the videos that could not be planned."""
    places = ledger.failure[at]
    rows = ledger.failures.take(pa.array(places[places >= 0]))
    lost = rows.append_column("uri", part["uri"].take(pa.array(owner[places >= 0])))
    names = QUARANTINE.schema.names
    lost = lost.rename_columns({"missing_start_s": "start_s", "missing_end_s": "end_s"}).select(names)
    failed = part.filter(pc.is_valid(part["reason"])).select(["video_id", "uri", "reason", "detail", "attempts"])
    for name in ("segment", "start_s", "end_s"):
        failed = failed.append_column(name, pa.nulls(len(failed), QUARANTINE.schema.field(name).type))
    return pa.concat_tables([table.select(names).cast(QUARANTINE.schema) for table in (lost, failed)])


def _count(sums: Totals, derived: _Derived) -> None:
    videos = derived.videos
    for counts, column in ((sums.videos, videos["status"]), (sums.reasons, derived.quarantine["reason"])):
        for entry in pc.value_counts(column).to_pylist():
            counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    num_segments = pc.sum(videos["num_segments"]).as_py() or 0
    sums.num_samples += pc.sum(videos["num_samples"]).as_py() or 0
    sums.num_segments += num_segments
    sums.num_pending += num_segments - derived.num_settled
    sums.hours += (pc.sum(videos["duration_s"]).as_py() or 0.0) / 3600


def _numbers(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Fractions, written as text, as numbers."""
    return pa.array([None if text is None else float(Fraction(text)) for text in texts.to_pylist()], pa.float64())


@dataclass(frozen=True, slots=True, kw_only=True)
class SideTable:
    """What is in a side table."""

    num_rows: int
    num_files: int
    num_settled: int | None
    """Segments and videos; ``None``: it is derived, and settles nothing."""


def side_tables(dataset: Dataset, *, tally: StreamTally | None = None) -> dict[str, SideTable]:
    """What is in the side tables of a dataset, by their names; ``tally``: of its streams, where there are any."""
    return {declaration.name: _side_table(dataset, declaration, tally) for declaration in declared(dataset.files)}


def _side_table(dataset: Dataset, declaration: Declaration, tally: StreamTally | None) -> SideTable:
    if declaration.growth == "derived":
        names = dataset.files.tables(declaration.name)
        counted = 0 if tally is None else tally.num_rows[declaration.name]
        unknown = names if tally is None else [name for name in names if not is_of_streams(name)]
        num_rows = counted + sum(num_rows_of(dataset.files, name) for name in unknown)
        return SideTable(num_rows=num_rows, num_files=len(names), num_settled=None)
    num_rows = num_files = 0

    def parts() -> Iterator[pa.Table]:
        nonlocal num_rows, num_files
        for _, footer in dataset.appended(declaration.name).footers():
            num_rows += footer.num_rows
            num_files += 1
            yield footer.settled()

    num_settled = len(Ledger.of(parts()).keys)
    return SideTable(num_rows=num_rows, num_files=num_files, num_settled=num_settled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is in a dataset."""

    info: DatasetInfo
    totals: Totals
    """Of the videos; sessions of streams are not among them."""
    side_tables: dict[str, SideTable]
    streams: tuple[StreamStatus, ...] = ()

    def to_json(self) -> Document:
        """A part of what ``status --json`` prints."""
        tables = {name: asdict(table) for name, table in self.side_tables.items()}
        streams = [stream.to_json() for stream in self.streams]
        return {**asdict(self.totals), "streams": streams, "side_tables": tables, "config": self.info.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """What is in a folder with the datasets of several models."""

    datasets: dict[str, Status]
    side_tables: dict[str, SideTable]
    """That are of the folder itself, and of no model."""

    def to_json(self) -> Document:
        """A part of what ``status --json`` prints."""
        tables = {name: asdict(table) for name, table in self.side_tables.items()}
        return {"datasets": {name: each.to_json() for name, each in self.datasets.items()}, "side_tables": tables}


def read_status(uri: str) -> Status:
    """What is in a dataset: its configuration, its totals, and its side tables.

    Raises:
        UsageError: there is none.
    """
    dataset = Dataset.at(uri)
    return _status(dataset, dataset.existing())


def read_statuses(uri: str) -> Status | FolderStatus:
    """The same, or what is in the datasets of a folder, or of the shots of one that holds nothing else.

    Raises:
        UsageError: there is neither.
    """
    dataset = Dataset.at(uri)
    within = datasets_within(uri) if dataset.info() is None else {}
    predictions = predictions_at(uri)
    if not within and dataset.info() is None and (shots := predictions.info()) is not None:
        return Status(info=shots, totals=totals(predictions), side_tables=side_tables(dataset))
    if not within:
        return read_status(uri)
    statuses = {name: _status(each, known) for name, (each, known) in within.items()}
    return FolderStatus(datasets=statuses, side_tables=side_tables(dataset))


def _status(dataset: Dataset, info: DatasetInfo) -> Status:
    lake, tally = LiveLake(dataset, info), StreamTally()
    unpublished = lake.headers  # before files are listed: what is published meanwhile is seen twice, and not missed
    counted = tally.counting(dataset.features.footers())
    ledger = Ledger.of(part.entries for part in settled_together(counted))
    has_streams = bool(tally.num_files or unpublished or lake.sessions)
    return Status(
        info=info,
        totals=totals(dataset, ledger=ledger),
        side_tables=side_tables(dataset, tally=tally.with_journal(lake) if has_streams else None),
        streams=tally.statuses(lake) if has_streams else (),
    )
