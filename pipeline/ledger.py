"""What the footers and the plan say, in a few bytes a segment, so that a driver can hold a million videos.

Arrow and Python spend ten times as much on joining strings. Here an id is 20 bytes of a numpy array and a segment 24,
its number behind its video's id; sorted, they are looked up by halving.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.config import Shard
from pipeline.dataset import Dataset
from pipeline.records import KEEPING_ROWS, OK
from pipeline.schemas import PLAN, SETTLED

_ID_BYTES = 20
_KEY_BYTES = _ID_BYTES + 4
_ADDED_AT_ONCE = 10_000
_DIGITS = np.array([int(chr(byte), 16) if chr(byte) in "0123456789abcdef" else 0 for byte in range(256)])


class Ids:
    """A set of video ids that may grow, in 20 bytes each."""

    def __init__(self, parts: Iterable[NDArray[np.bytes_]] = ()) -> None:
        """Begin with the ids in ``parts``, each as ``id_bytes`` gives them."""
        self._sorted = _distinct(parts)
        self._new: set[bytes] = set()

    def add(self, video_id: str) -> None:
        """Put one in."""
        self._new.add(video_id.encode())
        if len(self._new) >= max(_ADDED_AT_ONCE, len(self._sorted) // 8):
            self._merge()

    def __len__(self) -> int:
        self._merge()
        return len(self._sorted)

    def __contains__(self, video_id: str) -> bool:
        key = video_id.encode()
        return key in self._new or bool(_find(self._sorted, np.array([key], f"S{_ID_BYTES}"))[0] >= 0)

    def mask(self, video_ids: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which of many are in it."""
        self._merge()
        return _find(self._sorted, id_bytes(video_ids)) >= 0

    def to_arrow(self) -> pa.Array:
        """All of them, sorted, as strings."""
        self._merge()
        return pa.array(self._sorted, pa.binary()).cast(pa.string())

    def _merge(self) -> None:
        if self._new:
            self._sorted = _distinct([self._sorted, np.array(list(self._new), f"S{_ID_BYTES}")])
            self._new.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """How each settled segment ended, by its last attempt; ``find`` gives the places in the arrays."""

    keys: NDArray[np.bytes_]
    attempt: NDArray[np.int32]
    is_ok: NDArray[np.bool_]
    is_repeatable: NDArray[np.bool_]
    """Whether ``retry`` runs it again: it failed, and kept no rows."""
    num_samples: NDArray[np.int32]
    num_corrupt: NDArray[np.int32]
    failure: NDArray[np.int32]
    """The place in ``failures``; -1 for what is ok."""
    failures: pa.Table
    """``SETTLED`` rows of the segments that are not ok."""
    place: NDArray[np.int32]
    """Where it stood among the rows that the ledger was made of."""

    @classmethod
    def of(cls, settled: Iterable[pa.Table]) -> Self:
        """The ledger of ``SETTLED`` rows, such as ``Dataset.settled_parts`` gives."""
        keys: list[NDArray[np.bytes_]] = [np.empty(0, f"S{_KEY_BYTES}")]
        entries: list[NDArray[Any]] = [np.empty(0, _ENTRY)]
        failed: list[pa.Table] = [SETTLED.empty_table()]
        num_failed = 0
        for part in settled:
            keys.append(segment_keys(id_bytes(part["video_id"]), part["segment"].fill_null(-1).to_numpy()))
            entries.append(_entries(part, num_failed=num_failed))
            failed.append(part.select(SETTLED.names).filter(pc.not_equal(part["outcome"], OK)))
            num_failed += len(failed[-1])
        all_keys = np.concatenate(keys)
        keys.clear()
        all_entries = np.concatenate(entries)
        entries.clear()
        order = np.lexsort((all_entries["attempt"], all_keys))
        all_keys = all_keys[order]
        all_entries = all_entries[order]
        place = order.astype(np.int32)
        is_last = np.append(all_keys[:-1] != all_keys[1:], True)[: len(all_keys)]
        if not is_last.all():
            all_keys, all_entries, place = all_keys[is_last], all_entries[is_last], place[is_last]
        values = {name: all_entries[name] for name in _ENTRY.names or ()}
        return cls(keys=all_keys, **values, failures=pa.concat_tables(failed), place=place)

    def find(self, keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """The places of ``segment_keys``; -1 for those that are not settled."""
        return _find(self.keys, keys)

    def holds(self, video_ids: pa.ChunkedArray, attempts: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which videos are settled as a whole, by this attempt or a later one."""
        at = self.find(segment_keys(id_bytes(video_ids), np.full(len(video_ids), -1)))
        return (at >= 0) & (self.attempt[np.maximum(at, 0)] >= attempts.to_numpy()) if len(self.keys) else at >= 0

    def entries(self, at: NDArray[np.int64]) -> list[dict[str, Any]]:
        """The ``SETTLED`` rows of these places, as the footers have them."""
        split = np.ascontiguousarray(self.keys[at]).view(np.uint8).reshape(-1, _KEY_BYTES)
        ids = np.ascontiguousarray(split[:, :_ID_BYTES]).view(f"S{_ID_BYTES}").reshape(-1).astype(f"U{_ID_BYTES}")
        segments = np.ascontiguousarray(split[:, _ID_BYTES:]).view(">u4").reshape(-1).astype(np.int64) - 1
        failed = iter(self.failures.take(pa.array(self.failure[at][~self.is_ok[at]])).to_pylist())
        blank = dict.fromkeys(SETTLED.names) | {"outcome": OK}
        names = ("video_id", "segment", "attempt", "num_samples", "num_corrupt")
        columns = (ids, segments, self.attempt[at], self.num_samples[at], self.num_corrupt[at])
        values = zip(self.is_ok[at].tolist(), *(column.tolist() for column in columns), strict=True)
        return [blank | dict(zip(names, told, strict=True)) if is_ok else next(failed) for is_ok, *told in values]


_ENTRY = np.dtype(
    [
        ("attempt", np.int32),
        ("is_ok", np.bool_),
        ("is_repeatable", np.bool_),
        ("num_samples", np.int32),
        ("num_corrupt", np.int32),
        ("failure", np.int32),
    ]
)


class Planned:
    """The plan, a few thousand videos at a time, each video once.

    A video may have been planned more than once: what failed is planned again by ``retry``. The first plan that cut it
    counts, for stored rows carry the numbers of its segments; where none did, the last failure does.

    Attributes:
        ids: of all planned videos.
        schema: ``PLAN`` and all manifests' further columns; where two disagree on a type, the wider one, or text.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._names = dataset.plan_names()
        self.schema = _united([dataset.plan_schema_of(name) for name in self._names])
        parts = [id_bytes(dataset.plan_part(name, ["video_id"])["video_id"]) for name in self._names]
        self.ids = Ids(parts)
        self._losers = self._find_losers(_repeated(parts)) if len(self.ids) < sum(map(len, parts)) else {}

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Each file's name, without folder and ending, and its rows that count, in the columns of ``schema``."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        for name in self._names:
            present = [column for column in schema.names if column in self._dataset.plan_schema_of(name).names]
            part = _fitted(self._dataset.plan_part(name, present), schema)
            losers = self._losers.get(name)
            if losers is not None:
                part = part.take(pa.array(np.setdiff1d(np.arange(len(part)), losers)))
            yield name.rpartition("/")[2].removesuffix(".parquet"), part

    def _find_losers(self, contested: NDArray[np.bytes_]) -> dict[str, NDArray[np.int64]]:
        best: dict[bytes, tuple[tuple[bool, int], str, int]] = {}
        losers: dict[str, list[int]] = {}
        for name in self._names:
            part = self._dataset.plan_part(name, ["video_id", "attempt", "reason"])
            ids = id_bytes(part["video_id"])
            rows = np.flatnonzero(_find(contested, ids) >= 0)
            few = part.take(pa.array(rows))
            values = zip(few["attempt"].to_pylist(), few["reason"].to_pylist(), rows.tolist(), strict=True)
            for (attempt, reason, row), video in zip(values, ids[rows].tolist(), strict=True):
                # Less is better: a plan before a failure; the first plan, the last failure.
                rank = (reason is not None, attempt if reason is None else -attempt)
                mine, other = (rank, name, row), best.get(video)
                best[video] = mine if other is None or rank < other[0] else other
                if other is not None:
                    _, loser, loser_row = other if best[video] is mine else mine
                    losers.setdefault(loser, []).append(loser_row)
        return {name: np.array(rows) for name, rows in losers.items()}


def segment_keys(video_ids: NDArray[np.bytes_], segments: NDArray[Any]) -> NDArray[np.bytes_]:
    """Sortable keys of segments, each of one of ``video_ids``; segment -1 stands for the whole video."""
    keys = np.empty((len(video_ids), _KEY_BYTES), np.uint8)
    keys[:, :_ID_BYTES] = np.ascontiguousarray(video_ids).view(np.uint8).reshape(-1, _ID_BYTES)
    keys[:, _ID_BYTES:] = (segments + 1).astype(">u4").view(np.uint8).reshape(-1, 4)
    return keys.view(f"S{_KEY_BYTES}").reshape(-1)


def id_bytes(video_ids: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Ids as ``Ids`` and ``segment_keys`` take them."""
    parts = [np.empty(0, f"S{_ID_BYTES}")]
    for at in range(0, len(video_ids), _ADDED_AT_ONCE):  # a Python string takes four times as much
        ids = np.array([video_id.encode() for video_id in video_ids.slice(at, _ADDED_AT_ONCE).to_pylist()], "S")
        if ids.dtype.itemsize > _ID_BYTES:
            raise ValueError(f"a video id has more than {_ID_BYTES} characters: {max(ids.tolist(), key=len)!r}")
        parts.append(ids.astype(f"S{_ID_BYTES}"))
    return np.concatenate(parts)


def in_shard(ids: NDArray[np.bytes_], shard: Shard) -> NDArray[np.bool_]:
    """``shard.holds`` of many ids, as ``id_bytes`` gives them."""
    rest = np.zeros(len(ids), np.int64)
    for digit in ids.view(np.uint8).reshape(-1, _ID_BYTES).T:
        rest = (rest * 16 + _DIGITS[digit]) % shard.count
    is_mine: NDArray[np.bool_] = rest == shard.index - 1
    return is_mine


def _distinct(parts: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    ids = np.concatenate([np.empty(0, f"S{_ID_BYTES}"), *parts])
    ids.sort(kind="stable")  # of what is sorted already for the most part; in place, as ``np.unique`` is not
    is_first = np.append(True, ids[1:] != ids[:-1])[: len(ids)]
    return ids if is_first.all() else ids[is_first]


def _repeated(parts: Iterable[NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    found, counts = np.unique(np.concatenate([np.empty(0, f"S{_ID_BYTES}"), *parts]), return_counts=True)
    return found[counts > 1]


def _find(among: NDArray[np.bytes_], keys: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Places of ``keys`` in a sorted array; -1 for those that are not there."""
    if not len(among):
        return np.full(len(keys), -1, np.int64)
    at = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    return np.where(among[at] == keys, at, -1)


def _entries(settled: pa.Table, *, num_failed: int) -> NDArray[Any]:
    """The ledger's values of ``SETTLED`` rows, of which the failed ones get numbers from ``num_failed`` on."""
    entries = np.empty(len(settled), _ENTRY)
    for name in ("attempt", "num_samples", "num_corrupt"):
        entries[name] = settled[name].to_numpy()
    is_ok = pc.equal(settled["outcome"], OK).to_numpy()
    keeps = pc.is_in(settled["outcome"], pa.array(sorted(KEEPING_ROWS))).to_numpy()
    entries["is_ok"] = is_ok
    entries["is_repeatable"] = ~is_ok & (~keeps | (entries["num_samples"] == 0))
    entries["failure"] = np.where(is_ok, -1, num_failed + np.cumsum(~is_ok) - 1)
    return entries


def _united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    fields: dict[str, pa.Field] = {field.name: field for field in PLAN}
    for schema in schemas:
        for field in schema:
            known = fields.setdefault(field.name, field)
            if known.type != field.type and field.name not in PLAN.names:
                fields[field.name] = pa.field(field.name, _wider(known.type, field.type))
    return pa.schema([field.remove_metadata() for field in fields.values()])


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    try:
        return pa.unify_schemas(
            [pa.schema([("x", one)]), pa.schema([("x", other)])], promote_options="permissive"
        ).field("x").type  # fmt: skip
    except pa.ArrowTypeError:
        return pa.string()


def _fitted(part: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        _cast(part[field.name], field.type) if field.name in part.column_names else pa.nulls(len(part), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind, safe=not pa.types.is_floating(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists and structs have no text of Arrow's
        return pa.chunked_array([pa.array([_text(value) for value in column.to_pylist()], pa.string())])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
