"""``shots:N``: frames by the shots of a video, which ``vidlake shots`` has found before."""

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from typing_extensions import override

from pipeline.media.sampling.footage import Footage, ShotSpan
from pipeline.media.sampling.pickers import ListPicker, Picker
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import TimeRange, Window

_MOST_FRAMES = 1000


@dataclass(frozen=True, slots=True)
class ShotsRule(SamplingRule):
    """``shots:N``: N frames of each shot, the first frame at or after (k + 1/2)/N of its length; equal picks merged.

    Where a video's clock jumps or says nothing, a shot's length is its number of frames.
    """

    count: int
    shots: tuple[ShotSpan, ...] = ()
    """Of the video at hand."""

    form = "shots:N"

    @classmethod
    def read(cls, argument: str | None) -> Self | None:
        """A number of frames."""
        if argument is None or not re.fullmatch(r"\d{1,18}", argument, re.ASCII):
            return None
        return cls(int(argument)) if 0 < int(argument) <= _MOST_FRAMES else None

    def __str__(self) -> str:
        return f"shots:{self.count}"

    @override
    def of_video(self, shots: Sequence[ShotSpan]) -> "ShotsRule":
        return replace(self, shots=tuple(shots))

    def estimate(self, footage: Footage, frames: range) -> int:
        """An equal share of all for each stretch of frames."""
        share = len(frames) / max(1, footage.num_frames)
        return min(len(frames), round(self.count * len(self.shots) * share))

    def targets(self, footage: Footage, time_range: TimeRange) -> Sequence[int]:
        """The first frame at or after the middle of each N-th part of each shot."""
        positions = footage.positions
        reached = {bisect.bisect_left(positions, each) for each in self._thresholds(footage)}
        targets = sorted(positions[place] for place in reached if place < len(positions))
        if not footage.is_timed:
            return targets
        start, end = time_range.start, time_range.end
        low = 0 if start is None else bisect.bisect_left(targets, footage.first_position_from(start))
        high = len(targets) if end is None else bisect.bisect_left(targets, footage.first_position_from(end))
        return targets[low:high]

    def _thresholds(self, footage: Footage) -> list[int]:
        """Positions, rounded up: (k + 1/2)/N of a shot's length behind its start."""
        spans = [
            (each.first_frame, each.num_frames)
            if footage.is_sequential
            else (each.start_pts, each.end_pts - each.start_pts)
            for each in self.shots
        ]
        return [start - (2 * k + 1) * length // (-2 * self.count) for start, length in spans for k in range(self.count)]

    def picker(self, window: Window) -> Picker:
        """Keeps nothing: all samples are among the targets."""
        return ListPicker(())
