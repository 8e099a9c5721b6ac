"""Coverage of streams: which share of the slots of each stretch of time has rows, and which have none, and why."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.lake.live.batches import StoredGap
from pipeline.lake.live.readers import gaps, sessions
from pipeline.lake.live.suitable import rate_of
from pipeline.records.streams import GapReason

_MOST_STRETCHES = 200
_LENGTHS_S = (10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400)
_WANTED = GapReason.GATED
"""Nothing moved: that a slot has no row for this reason is what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """One stream over time; the shares are those of stretches of ``stretch_s``, one after the other."""

    stream: str
    captured_from: str
    captured_to: str
    stretch_s: int
    with_rows: tuple[float, ...]
    """The share of the slots that have a row."""
    gated: tuple[float, ...]
    """In which nothing moved."""
    missing: tuple[float, ...]
    """That have none for another reason."""


def coverage_of(dataset: Dataset) -> tuple[Coverage, ...]:
    """The coverage of each stream of a lake, by their names.

    Raises:
        ForeignFile: a file is damaged.
        StorageError: the store failed.
    """
    uri = dataset.store.uri
    stored = sessions(uri)
    if not stored:
        return ()
    rate_hz = rate_of(dataset.existing())
    left: dict[str, list[StoredGap]] = {}
    for gap in gaps(uri):
        if not gap.is_filled:
            left.setdefault(gap.gap.stream, []).append(gap)
    ends: dict[str, tuple[datetime, datetime]] = {}
    for each in stored:
        first, last = ends.get(each.session.stream, (each.captured_from, each.captured_to))
        ends[each.session.stream] = min(first, each.captured_from), max(last, each.captured_to)
    return tuple(
        _coverage(stream, first, last, left.get(stream, []), rate_hz) for stream, (first, last) in sorted(ends.items())
    )


def _coverage(
    stream: str, first: datetime, last: datetime, missing: Iterable[StoredGap], rate_hz: Fraction
) -> Coverage:
    total_s = max((last - first).total_seconds(), float(1 / rate_hz))
    stretch_s = next((length for length in _LENGTHS_S if total_s / length <= _MOST_STRETCHES), _LENGTHS_S[-1])
    edges = np.minimum(np.arange(int(np.ceil(total_s / stretch_s)) + 1) * stretch_s, total_s)
    slots = np.maximum(np.diff(edges) * float(rate_hz), 1e-9)
    without = {True: np.zeros(len(slots)), False: np.zeros(len(slots))}
    for each in missing:
        gap = each.gap
        begin, end = ((moment - first) / timedelta(seconds=1) for moment in (gap.captured_from, gap.captured_to))
        without[gap.reason == _WANTED] += gap.num_slots * _shares(edges, begin, end)
    gated, lost = (np.minimum(1.0, without[kind] / slots) for kind in (True, False))
    return Coverage(
        stream=stream,
        captured_from=first.isoformat(),
        captured_to=last.isoformat(),
        stretch_s=stretch_s,
        with_rows=_rounded(np.maximum(0.0, 1 - gated - lost)),
        gated=_rounded(gated),
        missing=_rounded(lost),
    )


def _shares(edges: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """Which share of the range from ``begin`` to ``end`` lies in each stretch."""
    if end <= begin:
        at = np.clip(np.searchsorted(edges, begin, side="right") - 1, 0, len(edges) - 2)
        alone: NDArray[np.float64] = (np.arange(len(edges) - 1) == at).astype(np.float64)
        return alone
    shares: NDArray[np.float64] = np.diff(np.clip(edges, begin, end)) / (end - begin)
    return shares


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(np.round(values, 4).tolist())
