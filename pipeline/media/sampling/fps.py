"""``fps:R``: frames by the clock. The arithmetic is exact: floats would drift over hours of video.

Slot k lasts from k/R to (k+1)/R seconds. A frame lies in the slot of its counted time, which is half a tick later than
its pts, because containers round times to ticks (``pickers.allowance_of``).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pipeline.media.sampling.footage import Footage
from pipeline.media.sampling.pickers import Picker, Tick
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import TimeRange, Window

_FASTEST_HZ = 10**6


@dataclass(frozen=True, slots=True)
class FpsRule(SamplingRule):
    """``fps:R``: the first frame of each slot. The axis is that of the slots."""

    rate_hz: Fraction

    form = "fps:R"
    needs_pts = False

    @classmethod
    def read(cls, argument: str | None) -> Self | None:
        """A rate in hertz: whole, decimal or a fraction."""
        if argument is None or not re.fullmatch(r"\d{1,18}(\.\d{1,18}|/\d{1,18})?", argument, re.ASCII):
            return None
        if re.search(r"/0+$", argument):
            return None
        rate_hz = Fraction(argument)
        return cls(rate_hz) if 0 < rate_hz <= _FASTEST_HZ else None

    def __str__(self) -> str:
        return f"fps:{self.rate_hz}"

    def estimate(self, footage: Footage, frames: range) -> int:
        """A sample for each slot that holds a frame."""
        share = Fraction(len(frames), footage.num_frames)
        return min(len(frames), math.ceil(len(self.places(footage)) * share))

    def places(self, footage: Footage) -> Sequence[int]:
        """The slots that hold a frame; where the packets do not tell, all slots of the video."""
        if footage.is_sequential:
            return range(math.ceil(footage.end_s * self.rate_hz))
        slots: list[int] = np.unique(self._slots_of(footage, footage.ticks).clip(0)).tolist()
        return slots

    @override
    def listed(self, footage: Footage) -> Sequence[int]:
        """The first frame of each slot."""
        positions = np.asarray(footage.positions, np.int64)
        _, first = np.unique(self._slots_of(footage, positions - footage.origin_pts), return_index=True)
        samples: list[int] = positions[first].tolist()
        return samples

    def _slots_of(self, footage: Footage, ticks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slot of every frame, in whole numbers."""
        first, step = footage.allowance_s * self.rate_hz, footage.time_base * self.rate_hz
        scale = math.lcm(first.denominator, step.denominator)
        offset, factor = int(first * scale), int(step * scale)
        # Where a product could pass 63 bits, numpy takes Python's own integers.
        is_small = (int(np.abs(ticks).max(initial=0)) + 1) * max(offset, factor) < 1 << 62
        exact = ticks if is_small else ticks.astype(object)
        slots: NDArray[np.int64] = ((exact * factor + offset) // scale).astype(np.int64)
        return slots

    def first_place(self, footage: Footage, start_pts: int | None) -> int:
        """The first slot that no frame before the keyframe can be in."""
        if start_pts is None:
            return 0
        # Such a frame is at least a tick earlier.
        before = footage.time_of(start_pts) - footage.time_base
        return max(0, slot_of(before, allowance=footage.allowance_s, rate_hz=self.rate_hz) + 1)

    def time_of(self, footage: Footage, place: int) -> Fraction:
        """When the slot begins, by the pts of frames."""
        return place / self.rate_hz - footage.allowance_s

    def may_reach(self, footage: Footage, window: Window, time_range: TimeRange) -> bool:
        """Whether a slot of the window lies in the range: slots tell times in any video."""
        return self._overlaps(footage, window, time_range)

    def picker(self, window: Window) -> Picker:
        """Keeps the first frame of each slot."""
        return SlotPicker(rate_hz=self.rate_hz, window=window)


class SlotPicker:
    """``fps:R``: keeps a frame whose slot is new, so that a gap cannot cause a burst."""

    def __init__(self, *, rate_hz: Fraction, window: Window) -> None:
        self._rate_hz = rate_hz
        self._window = window
        self._last = window.first - 1

    def wants(self, tick: Tick) -> bool:
        """Whether this is the first frame of a slot that the segment owns."""
        slot = slot_of(tick.time, allowance=tick.allowance, rate_hz=self._rate_hz)
        if slot <= self._last or slot not in self._window:
            return False
        self._last = slot
        return True

    def is_past(self, tick: Tick) -> bool:
        """Whether the last slot of the window is taken, or the frame is behind it."""
        end = self._window.end
        return end is not None and (
            self._last >= end - 1 or slot_of(tick.time, allowance=tick.allowance, rate_hz=self._rate_hz) >= end
        )


def slot_of(time: Fraction, *, allowance: Fraction, rate_hz: Fraction) -> int:
    """The slot k of ``fps:R`` with k/R <= time + allowance < (k+1)/R."""
    # Every frame of a video comes here, and fractions would be reduced three times for each.
    counted = time.numerator * allowance.denominator + allowance.numerator * time.denominator
    return counted * rate_hz.numerator // (time.denominator * allowance.denominator * rate_hz.denominator)
