"""From scores to what is shown: the best rows, or moments, each of which is what lies together around a peak."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.scanning import Scored, Scorer
from pipeline.explore.video_rows import VideoRows

_FIRST_ROWS = 64
"""Rows that are looked at for each moment at first; where one moment takes them all, more."""
_SAMPLE = 2048
"""Scores that tell which is usual in a lake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A moment: rows ``begin`` to ``last`` of a video, of which ``best`` is the best."""

    video: VideoRows
    begin: int
    last: int
    best: int


def best_rows(scored: Sequence[Scored], top: int) -> list[tuple[int, int]]:
    """The numbers of the source and row of the ``top`` best, the best first."""
    found: list[tuple[float, int, int]] = []
    for number, each in enumerate(scored):
        rows, scores = each.best(top)
        found += zip((-scores).tolist(), [number] * len(rows), rows.tolist(), strict=True)
    return [(source, row) for _, source, row in sorted(found)[:top]]


def best_moments(scored: Sequence[Scored], scorer: Scorer, top: int) -> list[Span]:
    """The ``top`` best moments, the best first.

    A moment reaches from a peak to both sides for as long as the score is nearer the peak's than what is usual in the
    lake: so it is a scene, whether it is very like the query or only more like it than the rest.
    """
    usual = usual_score(scored)
    videos: dict[bytes, _Peaks] = {}
    spans: list[Span] = []
    for source, row in _in_order(scored, top):
        rows = scored[source].rows
        video_id = rows.runs[rows.runs_of(np.array([row]))[0]]["video_id"]
        if video_id not in videos:
            videos[video_id] = _Peaks(VideoRows(video_id.decode(), scored, scorer))
        span = videos[video_id].span(source, row, usual=usual)
        if span is not None:
            spans.append(span)
            if len(spans) == top:
                break
    return spans


def usual_score(scored: Sequence[Scored]) -> float:
    """The middle of the scores of all rows that are looked at, by a sample of them; 0 where there are none."""
    total = sum(len(each.rows) for each in scored)
    step = max(1, total // _SAMPLE)
    sample = np.concatenate([np.empty(0, np.float32), *(each.sample(step) for each in scored)])
    return float(np.median(sample)) if len(sample) else 0.0


def _in_order(scored: Sequence[Scored], top: int) -> Iterator[tuple[int, int]]:
    """Rows by their scores, the best first: as many as somebody asks for."""
    done, count, total = 0, _FIRST_ROWS * top, sum(len(each.rows) for each in scored)
    while True:
        rows = best_rows(scored, count)
        yield from rows[done:]
        if count >= total or len(rows) < count:
            return
        done, count = count, 8 * count


class _Peaks:
    """The moments of one video, none of which touches another."""

    def __init__(self, video: VideoRows) -> None:
        self._video = video
        self._is_taken: NDArray[np.bool_] = np.zeros(len(video), np.bool_)

    def span(self, source: int, row: int, *, usual: float) -> Span | None:
        """The moment around a row; ``None``: it is no peak, or belongs to a moment that was found before."""
        at = self._video.place_of(source, row)
        score = self._video.score(at)
        floor = (score + min(usual, score)) / 2
        if self._is_taken[at] or any(self._is_higher(near, at, score) for near in (at - 1, at + 1)):
            return None
        begin, last = self._reach(at, -1, floor), self._reach(at, 1, floor)
        # The rows beside it too: what begins right behind a moment is its slope.
        self._is_taken[max(0, begin - 1) : last + 2] = True
        return Span(video=self._video, begin=begin, last=last, best=at)

    def _is_higher(self, near: int, at: int, score: float) -> bool:
        return self._is_beside(near, at) and (self._video.score(near) > score or bool(self._is_taken[near]))

    def _reach(self, at: int, step: int, floor: float) -> int:
        while (
            self._is_beside(at + step, at) and not self._is_taken[at + step] and self._video.score(at + step) >= floor
        ):
            at += step
        return at

    def _is_beside(self, near: int, at: int) -> bool:
        return 0 <= near < len(self._video) and self._video.are_together(min(near, at), max(near, at))
