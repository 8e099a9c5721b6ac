"""What is sampled of a recording, which knows of its stream: places that the lake lacks, and frames that it has.

Both rules count by the stream's session: its time base, and the pts of its first frame. They are no rules for
``--sample``, and are read by ``rules.read_rule`` alone.
"""

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

from typing_extensions import override

from pipeline.media.sampling.footage import Footage
from pipeline.media.sampling.fps import slot_of
from pipeline.media.sampling.pickers import ListPicker, Picker, allowance_of
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import TimeRange, Window

_FRACTION = r"\d+(?:/\d+)?"
_SLOTS = re.compile(rf"({_FRACTION}),({_FRACTION}),(-?\d+),((?:\d+-\d+)(?:,\d+-\d+)*)", re.ASCII)
_PTS = re.compile(rf"({_FRACTION}),(-?\d+(?:,-?\d+)*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class _ListedRule(SamplingRule):
    """A rule whose samples are listed when the whole recording is in view."""

    @property
    @abstractmethod
    def num_listed(self) -> int:
        """How many samples there are at most."""

    @override
    def estimate(self, footage: Footage, frames: range) -> int:
        """A share of what is listed, as if it lay all in this recording."""
        return min(len(frames), math.ceil(Fraction(self.num_listed * len(frames), footage.num_frames)))

    @override
    def picker(self, window: Window) -> Picker:
        """Keeps nothing: all samples are among the targets."""
        return ListPicker(())


@dataclass(frozen=True, slots=True)
class SlotsRule(_ListedRule):
    """The samples of ``fps:R`` that lie in some slots: the first frame of each."""

    rate_hz: Fraction
    time_base: Fraction
    """Of the session."""
    start_pts: int
    """Of the session's first frame, in its time base."""
    ranges: tuple[tuple[int, int], ...]
    """Of slots, each from its first up to its last, increasing."""

    form = "slots:R,TIME_BASE,START_PTS,FIRST-LAST,..."

    @classmethod
    @override
    def read(cls, argument: str | None) -> Self | None:
        match = _SLOTS.fullmatch(argument or "")
        if match is None:
            return None
        pairs = (pair.split("-") for pair in match[4].split(","))
        ranges = tuple((int(first), int(last)) for first, last in pairs)
        return cls(Fraction(match[1]), Fraction(match[2]), int(match[3]), ranges)

    @classmethod
    def of(cls, slots: Iterable[int], *, rate_hz: Fraction, time_base: Fraction, start_pts: int) -> Self:
        """The rule for some slots."""
        return cls(rate_hz, time_base, start_pts, tuple(_ranges(slots)))

    def for_slots(self, slots: Iterable[int]) -> Self:
        """The same for other slots."""
        return replace(self, ranges=tuple(_ranges(slots)))

    @override
    def __str__(self) -> str:
        ranges = ",".join(f"{first}-{last}" for first, last in self.ranges)
        return f"slots:{self.rate_hz},{self.time_base},{self.start_pts},{ranges}"

    @property
    @override
    def num_listed(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    @override
    def targets(self, footage: Footage, time_range: TimeRange) -> Sequence[int] | None:
        """Positions; none where frames cannot be told by their pts."""
        if footage.is_sequential:
            return ()
        wanted = {slot for first, last in self.ranges for slot in range(first, last + 1)}
        found: dict[int, int] = {}
        for position in footage.positions:
            slot = self.slot_of(position * footage.time_base)
            if slot in wanted:
                found.setdefault(slot, position)
        return sorted(found.values())

    def slot_of(self, stamp: Fraction) -> int:
        """The slot of a frame, by its pts in seconds."""
        time = stamp - self.start_pts * self.time_base
        return slot_of(time, allowance=allowance_of(self.time_base), rate_hz=self.rate_hz)


@dataclass(frozen=True, slots=True)
class PtsRule(_ListedRule):
    """The frames of some pts, as they are."""

    time_base: Fraction
    """Of the pts."""
    pts: tuple[int, ...]

    form = "pts:TIME_BASE,PTS,..."

    @classmethod
    @override
    def read(cls, argument: str | None) -> Self | None:
        match = _PTS.fullmatch(argument or "")
        return None if match is None else cls(Fraction(match[1]), tuple(map(int, match[2].split(","))))

    @override
    def __str__(self) -> str:
        return f"pts:{self.time_base},{','.join(map(str, self.pts))}"

    @property
    @override
    def num_listed(self) -> int:
        return len(self.pts)

    @override
    def targets(self, footage: Footage, time_range: TimeRange) -> Sequence[int] | None:
        """Positions; none where frames cannot be told by their pts."""
        if footage.is_sequential:
            return ()
        ratio = self.time_base / footage.time_base
        wanted = {int(pts * ratio) for pts in self.pts if (pts * ratio).denominator == 1}
        return [position for position in footage.positions if position in wanted]


def _ranges(slots: Iterable[int]) -> list[tuple[int, int]]:
    ranges: list[tuple[int, int]] = []
    for slot in sorted(set(slots)):
        if ranges and ranges[-1][1] == slot - 1:
            ranges[-1] = (ranges[-1][0], slot)
        else:
            ranges.append((slot, slot))
    return ranges
