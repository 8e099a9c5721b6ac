"""The ``videos`` and ``quarantine`` tables, and the totals: derived from plan and footers.

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

from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.ids import id_bytes, in_shard
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import PlannedSegments
from pipeline.lake.planned import Planned, listed
from pipeline.records.schemas import PLAN, QUARANTINE, VIDEOS
from pipeline.records.shards import Shard

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
    lost = lost.rename_columns({"missing_start_s": "start_s", "missing_end_s": "end_s"}).select(QUARANTINE.names)
    failed = part.filter(pc.is_valid(part["reason"])).select(["video_id", "uri", "reason", "detail", "attempts"])
    whole = {name: pa.nulls(len(failed), QUARANTINE.field(name).type) for name in ("segment", "start_s", "end_s")}
    for name, nulls in whole.items():
        failed = failed.append_column(name, nulls)
    return pa.concat_tables([lost.cast(QUARANTINE), failed.select(QUARANTINE.names).cast(QUARANTINE)])


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


def _numbers(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Fractions, written as text, as numbers."""
    return pa.array([None if text is None else float(Fraction(text)) for text in texts.to_pylist()], pa.float64())


def read_status(uri: str) -> tuple[DatasetInfo, Totals]:
    """What is in a dataset: its configuration and its totals."""
    dataset = Dataset.at(uri)
    return dataset.existing(), totals(dataset)
