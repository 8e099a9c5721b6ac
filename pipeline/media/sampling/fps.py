"""``fps:R``: frames by the clock, in exact arithmetic: floats drift, slots do not."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.media.sampling.footage import Footage
from pipeline.media.sampling.pickers import Picker, Tick
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import Window

_FASTEST_HZ = 10**6


@dataclass(frozen=True, slots=True)
class FpsRule(SamplingRule):
    """``fps:R``: the first frame at or after each k/R seconds. A place is a slot k."""

    rate_hz: Fraction

    name = "fps"
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
        return f"{self.name}:{self.rate_hz}"

    def estimate(self, footage: Footage, frames: range) -> int:
        """A sample for each slot that holds a frame."""
        share = Fraction(len(frames), footage.num_frames)
        return min(len(frames), math.ceil(len(self.places(footage)) * share))

    def places(self, footage: Footage) -> Sequence[int]:
        """The slots that hold a frame."""
        if footage.is_sequential:
            return range(first_slot_from(footage.end_s, rate_hz=self.rate_hz))
        slots: list[int] = np.unique(
            slots_of(footage.ticks, time_base=footage.time_base, rate_hz=self.rate_hz).clip(0)
        ).tolist()
        return slots

    def first_place(self, footage: Footage, start_pts: int | None) -> int:
        """The first slot that begins at or after that frame."""
        return 0 if start_pts is None else first_slot_from(footage.time_of(start_pts), rate_hz=self.rate_hz)

    def time_of(self, footage: Footage, place: int) -> Fraction:
        """When the slot begins."""
        return place / self.rate_hz

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
        slot = slot_of(tick.time, rate_hz=self._rate_hz)
        if slot <= self._last or slot not in self._window:
            return False
        self._last = slot
        return True

    def is_past(self, tick: Tick) -> bool:
        """Whether every owned slot is taken or behind."""
        end = self._window.end
        return end is not None and (self._last >= end - 1 or slot_of(tick.time, rate_hz=self._rate_hz) >= end)


def slot_of(time: Fraction, *, rate_hz: Fraction) -> int:
    """The slot k of ``fps:R`` with k/R <= time < (k+1)/R."""
    return math.floor(time * rate_hz)


def first_slot_from(time: Fraction, *, rate_hz: Fraction) -> int:
    """The first slot k with k/R >= time: where a segment's window begins."""
    return math.ceil(time * rate_hz)


def slots_of(ticks: NDArray[np.int64], *, time_base: Fraction, rate_hz: Fraction) -> NDArray[np.int64]:
    """``slot_of`` for many frames at once, whose times are ``ticks`` of ``time_base`` seconds."""
    scale = time_base * rate_hz
    # Where the product could pass 63 bits, numpy takes Python's own integers.
    is_small = not ticks.size or int(np.abs(ticks).max()) * scale.numerator < 1 << 63
    exact = ticks if is_small else ticks.astype(object)
    slots: NDArray[np.int64] = (exact * scale.numerator // scale.denominator).astype(np.int64)
    return slots
