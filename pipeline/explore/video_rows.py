"""The rows of one video in the order of time, wherever they lie, and their scores as far as they are asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.scanning import Scored, Scorer

_AT_ONCE = 64
"""Rows whose scores are computed together, where they are not known yet."""


class VideoRows:
    """The rows of one video, N in the order of (``epoch``, ``pts``).

    Attributes:
        sources: ``int32[N]``: which source each lies in.
        rows: ``int64[N]``: and where there.
        epochs: ``int32[N]``
        times_s: ``float64[N]``
        ends_s: ``float64[N]``
    """

    def __init__(self, video_id: str, scored: Sequence[Scored], scorer: Scorer) -> None:
        self._scorer = scorer
        self._scored: dict[int, Scored] = {}
        sources, rows, epochs = [np.empty(0, np.int32)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        for number, each in enumerate(scored):
            runs = each.rows.runs[each.rows.runs["video_id"] == video_id.encode()]
            if len(runs):
                self._scored[number] = each
                rows.append(rows_of_runs(runs))
                sources.append(np.full(len(rows[-1]), number, np.int32))
                epochs.append(np.repeat(runs["epoch"], runs["count"]))
        self.sources, self.rows, self.epochs = (np.concatenate(parts) for parts in (sources, rows, epochs))
        order = np.lexsort((self._taken(lambda each, at: each.rows.pts[at], np.int64), self.epochs))
        self.sources, self.rows, self.epochs = self.sources[order], self.rows[order], self.epochs[order]
        self.times_s = self._taken(lambda each, at: each.rows.times_s[at], np.float64)
        self.ends_s = self._taken(lambda each, at: each.rows.ends_s[at], np.float64)
        self._scores = self._taken(lambda each, at: each.known(at), np.float32)
        steps = np.diff(self.times_s)
        self._longest_step_s = 3 * float(np.median(steps)) if len(steps) else 0.0

    def __len__(self) -> int:
        return len(self.rows)

    def place_of(self, source: int, row: int) -> int:
        """Where a row stands among them."""
        return int(np.flatnonzero((self.sources == source) & (self.rows == row))[0])

    def score(self, at: int) -> float:
        """The score of one; minus infinity: it is not looked for."""
        if np.isnan(self._scores[at]):
            self._compute(at)
        return float(self._scores[at])

    def scores(self) -> NDArray[np.float32]:
        """``float32[N]``, of all."""
        for at in np.flatnonzero(np.isnan(self._scores)).tolist():
            self.score(at)
        return self._scores

    def are_together(self, at: int, after: int) -> bool:
        """Whether a row and the one after it lie together: in one epoch, with nothing missing between."""
        step = self.times_s[after] - self.times_s[at]
        return bool(self.epochs[at] == self.epochs[after] and step <= self._longest_step_s)

    def _compute(self, at: int) -> None:
        begin = at // _AT_ONCE * _AT_ONCE
        unknown = begin + np.flatnonzero(np.isnan(self._scores[begin : begin + _AT_ONCE]))
        for number in np.unique(self.sources[unknown]).tolist():
            here = unknown[self.sources[unknown] == number]
            rows, own = self._scored[number].rows, self.rows[here]
            self._scores[here] = self._scorer.scores(rows.vectors[own], rows.scales[own])

    def _taken(self, of: Callable[[Scored, NDArray[np.int64]], NDArray[Any]], kind: type[Any]) -> NDArray[Any]:
        taken = np.empty(len(self.rows), kind)
        for number, each in self._scored.items():
            mine = self.sources == number
            taken[mine] = of(each, self.rows[mine])
        return taken


def rows_of_runs(runs: NDArray[np.void]) -> NDArray[np.int64]:
    """The numbers of all rows of some runs."""
    counts = runs["count"]
    begins = np.cumsum(counts) - counts
    rows: NDArray[np.int64] = np.repeat(runs["first"] - begins, counts) + np.arange(counts.sum())
    return rows
