"""Which frames of a segment to keep, decided as they come, in presentation order.

What is picked never depends on where a video was cut: each segment owns a window of the rule's own axis, and the
windows of one video are disjoint and complete.
"""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from pipeline.records.segments import Window

_LONGEST_ALLOWANCE_S = Fraction(1, 2000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One frame, offered in presentation order.

    ``time`` is in seconds from the stream's first frame, ``position`` its pts or ordinal (``Footage`` says which), and
    ``allowance`` that of its time base (``allowance_of``).
    """

    time: Fraction
    position: int
    is_keyframe: bool
    allowance: Fraction

    @property
    def counted_time(self) -> Fraction:
        """When the frame counts as shown, in seconds from the first frame."""
        return self.time + self.allowance


def allowance_of(time_base: Fraction) -> Fraction:
    """How many seconds later than its pts says a frame counts as shown: half a tick, at most half a millisecond.

    Containers round times to ticks: at 30 frames a second, Matroska stores 0, 33, 67, 100 ... milliseconds. Half a
    tick makes up for that. A tick as long as a frame rounds nothing, so long ticks are given no more.
    """
    return min(time_base / 2, _LONGEST_ALLOWANCE_S)


class Picker(Protocol):
    """Decides frame by frame, in presentation order, for one segment."""

    def wants(self, tick: Tick) -> bool:
        """Whether the frame is a sample of this segment."""
        ...

    def is_past(self, tick: Tick) -> bool:
        """Whether neither this frame nor any later one can be a sample of this segment."""
        ...


class StridePicker:
    """``all`` (stride 1), ``keyframes`` and, over ordinals, ``every:N``."""

    def __init__(self, *, window: Window, stride: int = 1, keyframes_only: bool = False) -> None:
        self._window = window
        self._stride = stride
        self._keyframes_only = keyframes_only

    def wants(self, tick: Tick) -> bool:
        """Whether the frame lies in the window and on the stride."""
        if tick.position not in self._window or (self._keyframes_only and not tick.is_keyframe):
            return False
        return self._stride == 1 or tick.position % self._stride == 0

    def is_past(self, tick: Tick) -> bool:
        """Whether the frame is behind the window."""
        return self._window.end is not None and tick.position >= self._window.end


class ListPicker:
    """Positions that the planner chose, increasing: the first frame at or after each, equal picks merged."""

    def __init__(self, targets: Sequence[int]) -> None:
        self._targets = targets
        self._next = 0

    def wants(self, tick: Tick) -> bool:
        """Whether a target is reached that no earlier frame reached."""
        reached = bisect.bisect_right(self._targets, tick.position, lo=self._next)
        is_new = reached > self._next
        self._next = reached
        return is_new

    def is_past(self, tick: Tick) -> bool:
        """Whether every target is taken."""
        return self._next == len(self._targets)


class RangePicker:
    """Another picker's picks, kept only from ``start`` up to ``end``, in seconds from the stream's first frame."""

    def __init__(self, inner: Picker, *, start: Fraction | None, end: Fraction | None) -> None:
        self._inner = inner
        self._start = start
        self._end = end

    def wants(self, tick: Tick) -> bool:
        """Whether the inner picker wants it (it sees every frame, so picks do not move) and it is in range."""
        is_wanted = self._inner.wants(tick)
        return is_wanted and (self._start is None or tick.counted_time >= self._start) and not self._is_behind(tick)

    def is_past(self, tick: Tick) -> bool:
        """Whether the frame is behind the range, or behind the inner picker's window."""
        return self._is_behind(tick) or self._inner.is_past(tick)

    def _is_behind(self, tick: Tick) -> bool:
        return self._end is not None and tick.counted_time >= self._end
