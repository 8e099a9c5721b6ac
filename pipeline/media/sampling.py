"""Which frames to keep: pure arithmetic on integers and ``Fraction``s, never on floats.

A frame is offered in presentation order as a ``Tick``. What is picked never depends on where a video was cut: each
segment owns a window of the rule's own axis, and windows of one video are disjoint and complete.

===========  ==============================================  =======================================
rule         picks                                           axis of a segment's window
===========  ==============================================  =======================================
fps:R        the first frame at or after each k/R seconds    slots k
every:N      every N-th frame, from the first                position
all          every frame                                     position
keyframes    every keyframe                                  position
uniform:N    N frames spread over the video                  position
===========  ==============================================  =======================================

A *position* is a frame's pts or, where a stream has no trustworthy pts, its ordinal in decoding output.
"""

import bisect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol, Self

from pipeline.errors import UsageError
from pipeline.records.segments import Window

RuleKind = Literal["fps", "every", "all", "keyframes", "uniform"]
_KINDS_WITH_NUMBER: tuple[RuleKind, ...] = ("fps", "every", "uniform")
_KINDS_ALONE: tuple[RuleKind, ...] = ("all", "keyframes")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRule:
    """A parsed ``--sample``; ``number`` is R in hertz or N, and 1 where the rule has none."""

    kind: RuleKind
    number: Fraction = Fraction(1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``fps:2``, ``fps:30000/1001``, ``every:7``, ``all``, ``keyframes`` or ``uniform:9``.

        Raises:
            UsageError: the text is none of these.
        """
        kind, _, number = text.partition(":")
        for alone in _KINDS_ALONE:
            if text == alone:
                return cls(kind=alone)
        for known in _KINDS_WITH_NUMBER:
            pattern = r"\d+(\.\d+|/\d+)?" if known == "fps" else r"\d+"
            if kind == known and re.fullmatch(pattern, number, re.ASCII) and not re.search(r"/0+$", number):
                value = Fraction(number)
                if 0 < value <= 10**6:
                    return cls(kind=known, number=value)
        raise UsageError(f"bad sampling rule {text!r}: use fps:R, every:N, all, keyframes or uniform:N with R, N > 0")

    def __str__(self) -> str:
        return self.kind if self.kind in _KINDS_ALONE else f"{self.kind}:{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One frame, offered in presentation order.

    ``time`` is in seconds from the stream's first frame, ``position`` its place on the axis of the other rules.
    """

    time: Fraction
    position: int
    is_keyframe: bool


class Picker(Protocol):
    """Decides frame by frame, in presentation order, for one segment."""

    def wants(self, tick: Tick) -> bool:
        """Whether the frame is a sample of this segment."""
        ...

    def is_past(self, tick: Tick) -> bool:
        """Whether neither this frame nor any later one can be a sample of this segment."""
        ...


def slot_of(time: Fraction, *, rate_hz: Fraction) -> int:
    """The slot k of ``fps:R`` with k/R <= time < (k+1)/R."""
    return math.floor(time * rate_hz)


def first_slot_from(time: Fraction, *, rate_hz: Fraction) -> int:
    """The first slot k with k/R >= time: where a segment's window begins."""
    return math.ceil(time * rate_hz)


class SlotPicker:
    """``fps:R``: keeps a frame whose slot is new, so that a gap cannot cause a burst."""

    def __init__(self, *, rate_hz: Fraction, window: Window) -> None:
        self._rate_hz = rate_hz
        self._window = window
        self._last = window.first - 1

    def wants(self, tick: Tick) -> bool:
        """Whether this is the first frame of a slot that the segment owns."""
        slot = slot_of(tick.time, rate_hz=self._rate_hz)
        if slot <= self._last or slot not in self._window:
            return False
        self._last = slot
        return True

    def is_past(self, tick: Tick) -> bool:
        """Whether every owned slot is taken or behind."""
        end = self._window.end
        return end is not None and (self._last >= end - 1 or slot_of(tick.time, rate_hz=self._rate_hz) >= end)


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
        """Whether the window lies behind."""
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
        return is_wanted and (self._start is None or tick.time >= self._start) and not self._is_behind(tick)

    def is_past(self, tick: Tick) -> bool:
        """Whether the range or the inner picker's window lies behind."""
        return self._is_behind(tick) or self._inner.is_past(tick)

    def _is_behind(self, tick: Tick) -> bool:
        return self._end is not None and tick.time >= self._end


class Succession:
    """The pickers of consecutive segments over one pass: each is done when the next begins."""

    def __init__(self, pickers: Sequence[Picker]) -> None:
        self._pickers = pickers
        self.num_finished = 0

    @property
    def is_finished(self) -> bool:
        """Whether no later frame can be a sample of any."""
        return self.num_finished == len(self._pickers)

    def offer(self, tick: Tick) -> int | None:
        """Which picker takes the frame, if any."""
        self._advance(tick)
        place = self.num_finished
        if self.is_finished or not self._pickers[place].wants(tick):
            return None
        self._advance(tick)
        return place

    def _advance(self, tick: Tick) -> None:
        while not self.is_finished and self._pickers[self.num_finished].is_past(tick):
            self.num_finished += 1


def picker_for(
    rule: SamplingRule,
    *,
    window: Window,
    targets: Sequence[int] | None = None,
    start: Fraction | None = None,
    end: Fraction | None = None,
) -> Picker:
    """The picker of one segment.

    Args:
        rule: the dataset's sampling rule.
        window: the stretch of the rule's axis that the segment owns.
        targets: positions that the planner chose (``every`` and ``uniform`` where pts can be trusted).
        start: begin of the video's range, in seconds from its first frame.
        end: end of that range.
    """
    picker: Picker
    if targets is not None:
        picker = ListPicker(targets)
    elif rule.kind == "fps":
        picker = SlotPicker(rate_hz=rule.number, window=window)
    else:
        stride = int(rule.number) if rule.kind == "every" else 1
        picker = StridePicker(window=window, stride=stride, keyframes_only=rule.kind == "keyframes")
    return picker if start is None and end is None else RangePicker(picker, start=start, end=end)


def uniform_targets(positions: Sequence[int], *, count: int) -> list[int]:
    """``uniform:N`` over increasing positions: the first at or after first + (k + 1/2) D/N, equal picks merged."""
    if not positions:
        return []
    first, span = positions[0], positions[-1] - positions[0]
    # (k + 1/2) D/N <= p - first, in integers: (2k + 1) D <= 2N (p - first)
    thresholds = (first + -((2 * k + 1) * span // (-2 * count)) for k in range(count))
    return sorted({positions[bisect.bisect_left(positions, threshold)] for threshold in thresholds})
