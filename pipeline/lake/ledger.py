"""What the footers say, in a few bytes a segment, so that a driver can hold a million videos.

Arrow and Python spend ten times as much on joining strings. Here a segment is 14 bytes of a numpy array, its number
behind its video's packed id; sorted, they are looked up by halving.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.records.ids import (
    ID_BYTES,
    KEY_BYTES,
    GrowingArray,
    find_places,
    id_bytes,
    ids_of_keys,
    segment_keys,
    segments_of_keys,
)
from pipeline.records.rows import settled_of
from pipeline.records.schemas import SETTLED
from pipeline.records.segments import KEEPING_ROWS
from pipeline.records.settled import Settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """How each settled segment ended, by its last attempt; ``find`` gives the places in the arrays."""

    keys: NDArray[np.bytes_]
    attempts: NDArray[np.int32]
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
        keys, entries = GrowingArray(f"S{KEY_BYTES}"), GrowingArray(_ENTRY)
        failed: list[pa.Table] = [SETTLED.empty_table()]
        num_failed = 0
        for part in settled:
            keys.add(segment_keys(id_bytes(part["video_id"]), part["segment"].fill_null(-1).to_numpy()))
            entries.add(_entries(part, num_failed=num_failed))
            is_failed = pc.is_valid(part["reason"])
            if pc.any(is_failed).as_py():
                failed.append(part.select(SETTLED.names).filter(is_failed))
                num_failed += len(failed[-1])
        all_keys, all_entries = keys.close(), entries.close()
        del keys, entries  # each array is let go of once it is sorted
        order = np.lexsort((all_entries["attempts"], all_keys))
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
        return find_places(self.keys, keys)

    def holds(self, video_ids: pa.ChunkedArray, attempts: pa.ChunkedArray) -> NDArray[np.bool_]:
        """Which videos are settled as a whole, by this attempt or a later one."""
        at = self.find(segment_keys(id_bytes(video_ids), np.full(len(video_ids), -1)))
        return (at >= 0) & (self.attempts[np.maximum(at, 0)] >= attempts.to_numpy()) if len(self.keys) else at >= 0

    def entries(self, at: NDArray[np.int64]) -> list[Settled]:
        """How the segments at these places ended, as the footers have it."""
        keys = self.keys[at]
        ids, segments = ids_of_keys(keys).astype(f"U{ID_BYTES}"), segments_of_keys(keys)
        failed = iter(settled_of(self.failures.take(pa.array(self.failure[at][~self.is_ok[at]]))))
        columns = (ids, segments, self.attempts[at], self.num_samples[at], self.num_corrupt[at])
        values = zip(self.is_ok[at].tolist(), *(column.tolist() for column in columns), strict=True)
        return [
            Settled.complete(video_id, segment, attempts=attempts, num_samples=num_samples, num_corrupt=num_corrupt)
            if is_ok
            else next(failed)
            for is_ok, video_id, segment, attempts, num_samples, num_corrupt in values
        ]


_ENTRY = np.dtype(
    [
        ("attempts", np.int32),
        ("is_ok", np.bool_),
        ("is_repeatable", np.bool_),
        ("num_samples", np.int32),
        ("num_corrupt", np.int32),
        ("failure", np.int32),
    ]
)


def _entries(settled: pa.Table, *, num_failed: int) -> NDArray[Any]:
    """The ledger's values of ``SETTLED`` rows, of which the failed ones get numbers from ``num_failed`` on."""
    entries = np.empty(len(settled), _ENTRY)
    for name in ("attempts", "num_samples", "num_corrupt"):
        entries[name] = settled[name].to_numpy()
    is_ok = pc.is_null(settled["reason"]).to_numpy()
    keeps = pc.is_in(settled["reason"], pa.array(sorted(KEEPING_ROWS))).to_numpy()
    entries["is_ok"] = is_ok
    entries["is_repeatable"] = ~is_ok & (~keeps | (entries["num_samples"] == 0))
    entries["failure"] = np.where(is_ok, -1, num_failed + np.cumsum(~is_ok) - 1)
    return entries
