"""What the planner and the decoder ask of a sampling rule."""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

from pipeline.media.sampling.footage import Footage, ShotSpan
from pipeline.media.sampling.pickers import ListPicker, Picker, RangePicker
from pipeline.records.segments import TimeRange, Window


@dataclass(frozen=True, slots=True)
class SamplingRule(ABC):
    """A parsed ``--sample``.

    The segments of a video divide the rule's *axis* among themselves: their windows are disjoint, and together they
    cover it. What is answered here is true for rules whose axis is the frames' positions.
    """

    form: ClassVar[str]
    """How it is written, ``fps:R`` or ``all``: what stands before the colon tells the rules apart."""
    needs_pts: ClassVar[bool] = True
    """Whether every frame's pts must be known to plan; otherwise the index in an MP4's header is enough."""

    @classmethod
    @abstractmethod
    def read(cls, argument: str | None) -> Self | None:
        """The rule whose text has ``argument`` behind the colon (``None``: no colon); ``None`` where it is no such."""

    @abstractmethod
    def __str__(self) -> str:
        """The text that ``parse_rule`` reads back; the child process and the dataset's configuration keep this."""

    def of_video(self, shots: Sequence[ShotSpan]) -> "SamplingRule":
        """The same rule for a video whose shots are known."""
        return self

    @abstractmethod
    def estimate(self, footage: Footage, frames: range) -> int:
        """About how many samples are among these ``frames``, which are counted in decoding order."""

    def targets(self, footage: Footage, time_range: TimeRange) -> Sequence[int] | None:
        """The positions of all samples, where they can only be chosen with the whole video in view."""
        return None

    def listed(self, footage: Footage) -> Sequence[int]:
        """The positions of all samples of a video that is not sequential, wherever no ``targets`` are chosen."""
        return footage.positions

    def samples(self, footage: Footage, time_range: TimeRange) -> Sequence[int] | None:
        """The positions of all samples in the range; ``None`` where only decoding tells which those are."""
        targets = self.targets(footage, time_range)
        if targets is None and footage.is_sequential:
            return None
        samples = self.listed(footage) if targets is None else targets
        if not footage.is_timed:
            return samples
        start, end = time_range.start, time_range.end
        low = 0 if start is None else bisect_left(samples, footage.first_position_from(start))
        high = len(samples) if end is None else bisect_left(samples, footage.first_position_from(end))
        return samples[low:high]

    def places(self, footage: Footage) -> Sequence[int] | None:
        """Where on the rule's axis samples lie, increasing; in a sequential video, wherever one could lie.

        ``None`` where that is not known; ``estimate`` then tells how many they are.
        """
        return footage.positions

    def first_place(self, footage: Footage, start_pts: int | None) -> int:
        """Where a segment's window begins. ``start_pts`` is its keyframe's; ``None``: it begins with the video."""
        return footage.first_position if start_pts is None else start_pts

    def time_of(self, footage: Footage, place: int) -> Fraction:
        """The time from which on frames lie at or behind a place of the axis, in seconds from the first frame."""
        return footage.time_of(place)

    def may_reach(self, footage: Footage, window: Window, time_range: TimeRange) -> bool:
        """Whether a sample in ``window`` may lie in the range that a manifest asks for."""
        return not footage.is_timed or self._overlaps(footage, window, time_range)

    def _overlaps(self, footage: Footage, window: Window, time_range: TimeRange) -> bool:
        start = self.time_of(footage, window.first) + footage.allowance_s
        end = None if window.end is None else self.time_of(footage, window.end) + footage.allowance_s
        return time_range.overlaps(start=start, end=end)

    @abstractmethod
    def picker(self, window: Window) -> Picker:
        """Picks the samples in a segment's ``window``, where ``targets`` did not choose them."""


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
        targets: positions that the planner chose.
        start: begin of the video's range, in seconds from its first frame.
        end: end of that range.
    """
    picker = rule.picker(window) if targets is None else ListPicker(targets)
    return picker if start is None and end is None else RangePicker(picker, start=start, end=end)
