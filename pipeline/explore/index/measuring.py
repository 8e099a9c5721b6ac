"""How good an index is: what it finds of the ten best rows, for rows of the lake that are looked for as queries."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.index.building import units_of
from pipeline.explore.index.lookup import Lookup
from pipeline.explore.scanning import Cosine
from pipeline.lake.unpacked.feature_rows import FeatureRows

_QUERIES = 200
_TOP = 10
_WANTED = 0.995
"""Of the best rows: 0.99 is what is promised."""
_AS_GOOD = 1e-6
"""A cosine that much below the tenth is the tenth: rows of one still picture are all alike."""
_ROWS = 16384
_FIRST_PROBES, _MORE = 8, 1.5
"""Lists that are tried first, and how many times as many then."""
_NUM_EXACT = (400, 1600, 6400)
"""Rows that are tried. Where thousands are nearly as near as the best, a byte a value does not tell them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured."""

    recall: float
    """The share of the ten best rows that was found."""
    num_probes: int
    """Lists that are looked through for it."""
    num_exact: int
    """Rows of these that are compared exactly: those that are roughly the nearest."""
    num_queries: int


def measured(lookup: Lookup, rows: Sequence[FeatureRows], *, pool: ThreadPoolExecutor) -> Measured:
    """The fewest lists, and then the fewest rows of these, that give enough of the ten best rows."""
    queries = _queries(rows)
    best = _best(rows, queries)
    num_probes = min(_FIRST_PROBES, lookup.num_lists)
    while (
        recall := _recall(lookup, queries, best, num_probes=num_probes, num_exact=_NUM_EXACT[-1], pool=pool)
    ) < _WANTED and num_probes < lookup.num_lists:
        num_probes = min(lookup.num_lists, round(num_probes * _MORE))
    num_exact = _NUM_EXACT[-1]
    for fewer in _NUM_EXACT[:-1]:
        with_fewer = _recall(lookup, queries, best, num_probes=num_probes, num_exact=fewer, pool=pool)
        if with_fewer >= min(_WANTED, recall):
            recall, num_exact = with_fewer, fewer
            break
    return Measured(recall=recall, num_probes=num_probes, num_exact=num_exact, num_queries=len(queries))


def _queries(rows: Sequence[FeatureRows]) -> NDArray[np.float32]:
    """Rows of the lake, evenly over all, each of length 1."""
    total = sum(map(len, rows))
    chosen = np.unique(np.linspace(0, max(0, total - 1), min(_QUERIES, total)).astype(np.int64))
    parts, first = [], 0
    for each in rows:
        own = chosen[(chosen >= first) & (chosen < first + len(each))] - first
        parts.append(units_of(each, own))
        first += len(each)
    queries = np.concatenate(parts)
    return queries[np.any(queries != 0, axis=1)]


def _best(rows: Sequence[FeatureRows], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """``float32[Q, 10]``: the best cosines of each query, over all rows; minus infinity where there are fewer."""
    best = np.full((len(queries), _TOP), -np.inf, np.float32)
    for each in rows:
        for begin in range(0, len(each), _ROWS):
            units = units_of(each, slice(begin, min(begin + _ROWS, len(each))))
            both = np.concatenate([best, queries @ units.T], axis=1)
            best = np.partition(both, -_TOP, axis=1)[:, -_TOP:]
    return best


def _recall(
    lookup: Lookup,
    queries: NDArray[np.float32],
    best: NDArray[np.float32],
    *,
    num_probes: int,
    num_exact: int,
    pool: ThreadPoolExecutor,
) -> float:
    found = wanted = 0
    for query, scores in zip(queries, best, strict=True):
        looked = lookup.find(Cosine(query), num_probes=num_probes, count=num_exact, pool=pool)
        own = np.concatenate([each.scores for each in looked])
        own = np.sort(own)[::-1][:_TOP]
        expected = np.sort(scores[scores > -np.inf])[::-1]
        floor = expected[-1] - _AS_GOOD if len(expected) else np.inf
        found += min(len(expected), int((own >= floor).sum()))
        wanted += len(expected)
    return found / wanted if wanted else 1.0
