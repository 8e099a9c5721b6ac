"""Which of consecutive segments take a frame, decided in one pass over all of them.

Without windows a sample belongs to one segment. With windows it belongs to each segment that a window begins in which
holds it: a segment reads past its end for them.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from pipeline.media.sampling.pickers import Picker, Tick
from pipeline.media.sampling.rule import SamplingRule, picker_for
from pipeline.records.segments import Segment, TimeRange, Window
from pipeline.records.windows import Windows


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that is a sample of consecutive segments, from place ``first`` among those of the pass on.

    Where samples form windows, ``ordinal`` says which sample of its epoch it is, and ``begins`` whether a window of the
    last of these segments begins with it.
    """

    first: int
    count: int = 1
    ordinal: int = 0
    begins: bool = False


class Pass(Protocol):
    """Decides frame by frame, in presentation order, for consecutive segments."""

    @property
    def is_finished(self) -> bool:
        """Whether no later frame can be a sample of any."""

    def offer(self, tick: Tick, *, epoch: int) -> Taken | None:
        """Which segments take the frame, if any do."""


def pass_over(
    segments: Sequence[Segment], rule: SamplingRule, time_range: TimeRange, *, windows: Windows | None
) -> Pass:
    """The sampling rule's decisions for consecutive segments that one pass decodes."""
    start, end = time_range.start, time_range.end
    if windows is not None and segments[0].targets is None:
        return CountedWindows(segments, rule, time_range, windows=windows)
    if windows is not None:
        return ListedWindows(segments, time_range, windows=windows)
    return Succession(
        [picker_for(rule, window=segment.window, targets=segment.targets, start=start, end=end) for segment in segments]
    )


class Succession:
    """The pickers of consecutive segments: each is done when the next begins."""

    def __init__(self, pickers: Sequence[Picker]) -> None:
        self._pickers = pickers
        self.num_finished = 0

    @property
    def is_finished(self) -> bool:
        """Whether no later frame can be a sample of any."""
        return self.num_finished == len(self._pickers)

    def offer(self, tick: Tick, *, epoch: int = 0) -> Taken | None:
        """Which picker takes the frame, if any."""
        self._advance(tick)
        place = self.num_finished
        if self.is_finished or not self._pickers[place].wants(tick):
            return None
        self._advance(tick)
        return Taken(place)

    def _advance(self, tick: Tick) -> None:
        while not self.is_finished and self._pickers[self.num_finished].is_past(tick):
            self.num_finished += 1


class ListedWindows:
    """Segments whose ``targets`` are the samples of the windows that begin in them; their ``window`` counts samples."""

    def __init__(self, segments: Sequence[Segment], time_range: TimeRange, *, windows: Windows) -> None:
        self._segments = segments
        self._targets = [segment.targets or () for segment in segments]
        self._range = time_range
        self._windows = windows
        self._reached = [0] * len(segments)
        self._ordinals = [_ordinals_of(segment, windows) for segment in segments]
        self._num_finished = 0
        self._is_behind = False

    @property
    def is_finished(self) -> bool:
        """Whether every target is taken."""
        return self._is_behind or self._num_finished == len(self._segments)

    def offer(self, tick: Tick, *, epoch: int) -> Taken | None:
        """The segments that a target is reached of which no earlier frame reached."""
        start, end = self._range.start, self._range.end
        self._is_behind = self._is_behind or (end is not None and tick.counted_time >= end)
        if self._is_behind or (start is not None and tick.counted_time < start):
            return None
        taking: list[int] = []
        for place in range(self._num_finished, len(self._segments)):
            targets = self._targets[place]
            if targets and targets[0] > tick.position:
                break
            reached = bisect_right(targets, tick.position, lo=self._reached[place])
            if reached > self._reached[place]:
                taking.append(place)
            self._reached[place] = reached
        self._advance()
        if not taking:
            return None
        last = taking[-1]
        ordinal = self._ordinals[last][self._reached[last] - 1]
        window, begins = self._segments[last].window, self._windows.beginning_at(ordinal)
        return Taken(taking[0], last - taking[0] + 1, ordinal, begins is not None and ordinal in window)

    def _advance(self) -> None:
        while not self.is_finished and self._reached[self._num_finished] == len(self._targets[self._num_finished]):
            self._num_finished += 1


def _ordinals_of(segment: Segment, windows: Windows) -> Sequence[int]:
    """Which sample of the video each target of a segment is."""
    first, end = segment.window.first, segment.window.end
    if end is None:
        raise ValueError(f"segment {segment.index} does not say how many samples it has")
    # Where the video ends, the last of these are no samples: there are no targets for them.
    wanted = range(windows.first_from(first), windows.first_from(end))
    return windows.ordinals(wanted, num_samples=end + windows.length)


class CountedWindows:
    """Segments of a video that is decoded from its start, whose samples nobody knew before: they are counted."""

    def __init__(
        self, segments: Sequence[Segment], rule: SamplingRule, time_range: TimeRange, *, windows: Windows
    ) -> None:
        self._windows = windows
        self._num_segments = len(segments)
        self._owners: list[int | None] = []
        pickers: list[Picker] = []
        for window, place in _covered(segments):
            pickers.append(picker_for(rule, window=window, start=time_range.start, end=time_range.end))
            self._owners.append(place)
        self._inner = Succession(pickers)
        self._end: Fraction | None = time_range.end
        self._open: deque[tuple[int, int]] = deque()  # the owner of each open window, and its end
        self._epoch = 0
        self._next_ordinal = 0
        self._is_behind = False

    @property
    def is_finished(self) -> bool:
        """Whether the segments are over, and all windows that began in them."""
        num_over = self._inner.num_finished
        is_over = num_over == len(self._owners) or not any(owner is not None for owner in self._owners[num_over:])
        return self._is_behind or (is_over and not self._open)

    def offer(self, tick: Tick, *, epoch: int) -> Taken | None:
        """The segments of the windows that hold the sample, if the frame is one."""
        self._is_behind = self._is_behind or (self._end is not None and tick.counted_time >= self._end)
        taken = self._inner.offer(tick)
        if epoch != self._epoch:
            self._epoch, self._next_ordinal = epoch, 0
            self._open.clear()
        if taken is None:
            return None
        ordinal, owner = self._next_ordinal, self._owners[taken.first]
        self._next_ordinal += 1
        while self._open and self._open[0][1] <= ordinal:
            self._open.popleft()
        window = self._windows.beginning_at(ordinal)
        begins = window is not None and owner is not None
        if window is not None and owner is not None:
            self._open.append((owner, self._windows.end(window)))
        if not self._open:
            return None
        first, last = self._open[0][0], self._open[-1][0]
        result = Taken(first, last - first + 1, ordinal, begins)
        while self._open and self._open[0][1] <= ordinal + 1:
            self._open.popleft()
        return result


def _covered(segments: Sequence[Segment]) -> list[tuple[Window, int | None]]:
    """The whole axis of the rule, in the segments' windows and in what lies before, between and behind them."""
    parts: list[tuple[Window, int | None]] = []
    reached: int | None = -(1 << 62)
    for place, segment in enumerate(segments):
        window = segment.window
        if reached is not None and window.first > reached:
            parts.append((Window(first=reached, end=window.first), None))
        parts.append((window, place))
        reached = window.end
    if reached is not None:
        parts.append((Window(first=reached, end=None), None))
    return parts
