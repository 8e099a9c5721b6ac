"""Where a sequence of samples occurs in one video: by the diagonals of their similarities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Similarities = NDArray[np.float32]

_MOST_SHIFTS = 200
"""Shifts that are tried of each video: those that most pairs of like pictures speak for."""
_MOST_STRETCHES = 5
"""That are looked at, of one video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Rows ``first`` to ``last`` of a video show what the query shows, as much later as ``shift_s`` says."""

    first: int
    last: int
    best: int
    shift_s: float
    begin_s: float
    """Where in the query it begins."""
    end_s: float
    """And ends."""
    score: float
    """The mean similarity of its rows."""
    gain: float
    """By how much its rows are more alike than usual, together: what stretches are ranked by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTimes:
    """When the samples of the query are shown."""

    times_s: Floats
    """Ascending, from its first frame."""
    end_s: float

    @property
    def step_s(self) -> float:
        """Between its samples, as a rule."""
        return float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else max(self.end_s, 1e-3)


def stretches(similarities: Similarities, times_s: Floats, query: QueryTimes, *, floor: float) -> list[Aligned]:
    """The stretches of a video that show a part of the query, the best first, none of which overlaps another.

    One is at least two rows long, unless the query is shorter, and on the whole nearer to being the same than to the
    floor.

    Args:
        similarities: ``float32[R, T]``: of the R rows of the video to the T samples of the query.
        times_s: ``float64[R]``: of the rows, ascending.
        query: when its samples are shown.
        floor: what is more similar than that speaks for a stretch, and what is less against it.
    """
    found: list[Aligned] = []
    left, tries = similarities.copy(), 0
    is_short = len(times_s) < 2 or query.end_s < 2 * float(np.median(np.diff(times_s)))
    while tries < _MOST_STRETCHES:
        shifts = _shifts(left, times_s, query, floor)
        candidates = [_best_run(left, times_s, query, shift_s=shift_s, floor=floor) for shift_s in shifts]
        best = max((each for each in candidates if each is not None), key=lambda each: each.gain, default=None)
        if best is None:
            break
        left[best.first : best.last + 1] = -1
        if best.score >= (1 + floor) / 2 and (best.first < best.last or is_short):
            found.append(best)
        tries += 1
    return found


def _shifts(similarities: Similarities, times_s: Floats, query: QueryTimes, floor: float) -> Floats:
    """The shifts that pairs of like pictures speak for, those with the most first."""
    rows, samples = np.nonzero(similarities > floor)
    if not len(rows):
        return np.empty(0)
    steps = np.round((times_s[rows] - query.times_s[samples]) / query.step_s).astype(np.int64)
    lowest = int(steps.min())
    votes = np.bincount(steps - lowest, similarities[rows, samples] - floor)
    most = np.argsort(-votes, kind="stable")[:_MOST_SHIFTS]
    numbers = most[votes[most] > 0] + lowest
    return numbers.astype(np.float64) * query.step_s


def _best_run(
    similarities: Similarities, times_s: Floats, query: QueryTimes, *, shift_s: float, floor: float
) -> Aligned | None:
    """The rows at one shift whose similarities exceed the floor by the most, together."""
    moments = times_s - shift_s
    rows = np.flatnonzero((moments >= -query.step_s / 2) & (moments <= query.end_s))
    if not len(rows):
        return None
    samples = _nearest(query.times_s, moments[rows])
    like = similarities[rows, samples]
    sums = np.append(0, np.cumsum(like.astype(np.float64) - floor))
    lows = np.minimum.accumulate(sums[:-1])
    last = int(np.argmax(sums[1:] - lows))
    gain = float(sums[last + 1] - lows[last])
    if gain <= 0:
        return None
    first = int(np.flatnonzero(sums[: last + 1] == lows[last])[-1])
    begin_s, end_s = _edges(similarities, rows, samples, run=(first, last), query=query, floor=floor)
    return Aligned(
        first=int(rows[first]),
        last=int(rows[last]),
        best=int(rows[first + np.argmax(like[first : last + 1])]),
        shift_s=shift_s,
        begin_s=begin_s,
        end_s=end_s,
        score=float(like[first : last + 1].mean()),
        gain=gain,
    )


def _edges(
    similarities: Similarities,
    rows: NDArray[np.int64],
    samples: NDArray[np.int64],
    *,
    run: tuple[int, int],
    query: QueryTimes,
    floor: float,
) -> tuple[float, float]:
    """Where in the query a run begins and ends: as far from its outermost rows as the query goes on to look like them.

    At most up to the samples of the rows beside it, for those are not part of it.
    """
    first, last = run
    lowest = int(samples[first - 1]) + 1 if first else 0
    highest = int(samples[last + 1]) - 1 if last + 1 < len(samples) else len(query.times_s) - 1
    begin, end = int(samples[first]), int(samples[last])
    while begin > lowest and similarities[rows[first], begin - 1] > floor:
        begin -= 1
    while end < highest and similarities[rows[last], end + 1] > floor:
        end += 1
    half_s = query.step_s / 2
    begin_s = 0.0 if begin == 0 else float(query.times_s[begin]) - half_s
    is_at_end = end == len(query.times_s) - 1
    return begin_s, query.end_s if is_at_end else min(query.end_s, float(query.times_s[end]) + half_s)


def _nearest(times_s: Floats, moments: Floats) -> NDArray[np.int64]:
    after = np.clip(np.searchsorted(times_s, moments), 1, max(1, len(times_s) - 1))
    if len(times_s) == 1:
        return np.zeros(len(moments), np.int64)
    nearer_before = moments - times_s[after - 1] <= times_s[after] - moments
    nearest: NDArray[np.int64] = np.where(nearer_before, after - 1, after)
    return nearest
