"""The sampling rules. A new one is a class, an entry in ``_RULES``, and its test.

===========  ==============================================  =======================================
rule         picks                                           axis of a segment's window
===========  ==============================================  =======================================
fps:R        the first frame at or after each k/R seconds    slots k
every:N      every N-th frame, from the first                position
all          every frame                                     position
keyframes    every keyframe                                  position
uniform:N    N frames spread over the video                  position
shots:N      N frames of each shot                           position
===========  ==============================================  =======================================
"""

import bisect
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.errors import UsageError
from pipeline.media.sampling.footage import Footage, uniform_targets
from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.pickers import ListPicker, Picker, StridePicker
from pipeline.media.sampling.recorded import PtsRule, SlotsRule
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.shots import ShotsRule
from pipeline.records.segments import TimeRange, Window

_MOST_FRAMES = 10**6
"""The largest N of ``every:N`` and ``uniform:N``: more than anybody has use for."""


@dataclass(frozen=True, slots=True)
class EveryRule(SamplingRule):
    """``every:N``: every N-th frame, from the first."""

    stride: int

    form = "every:N"

    @classmethod
    def read(cls, argument: str | None) -> Self | None:
        """A number of frames."""
        stride = _count(argument)
        return None if stride is None else cls(stride)

    def __str__(self) -> str:
        return f"every:{self.stride}"

    def estimate(self, footage: Footage, frames: range) -> int:
        """One of every ``stride`` frames."""
        return math.ceil(len(frames) / self.stride)

    def targets(self, footage: Footage, time_range: TimeRange) -> Sequence[int] | None:
        """Every N-th pts; in a sequential video the decoder counts."""
        return None if footage.is_sequential else footage.positions[:: self.stride]

    def places(self, footage: Footage) -> Sequence[int]:
        """Every N-th position."""
        return footage.positions[:: self.stride]

    def picker(self, window: Window) -> Picker:
        """Keeps every N-th frame of a sequential video: its positions count frames."""
        return StridePicker(window=window, stride=self.stride)


@dataclass(frozen=True, slots=True)
class AllRule(SamplingRule):
    """``all``: every frame."""

    form = "all"

    @classmethod
    def read(cls, argument: str | None) -> Self | None:
        """Nothing may stand behind it."""
        return cls() if argument is None else None

    def __str__(self) -> str:
        return self.form

    def estimate(self, footage: Footage, frames: range) -> int:
        """All of them."""
        return len(frames)

    def picker(self, window: Window) -> Picker:
        """Keeps every frame."""
        return StridePicker(window=window)


@dataclass(frozen=True, slots=True)
class KeyframesRule(SamplingRule):
    """``keyframes``: every keyframe."""

    form = "keyframes"
    needs_pts = False

    @classmethod
    def read(cls, argument: str | None) -> Self | None:
        """Nothing may stand behind it."""
        return cls() if argument is None else None

    def __str__(self) -> str:
        return self.form

    def estimate(self, footage: Footage, frames: range) -> int:
        """The keyframes among them."""
        keyframes = footage.keyframes
        return bisect.bisect_left(keyframes, frames.stop) - bisect.bisect_left(keyframes, frames.start)

    def places(self, footage: Footage) -> Sequence[int] | None:
        """The keyframes; in a sequential video any frame may turn out to be one."""
        return footage.positions if footage.is_sequential else footage.keyframe_positions

    def listed(self, footage: Footage) -> Sequence[int]:
        """The keyframes."""
        keyframes = footage.keyframe_positions or ()
        return keyframes[bisect.bisect_left(keyframes, footage.first_position) :]

    def picker(self, window: Window) -> Picker:
        """Keeps what the decoder says is a keyframe."""
        return StridePicker(window=window, keyframes_only=True)


@dataclass(frozen=True, slots=True)
class UniformRule(SamplingRule):
    """``uniform:N``: N frames spread over the video, or over the range of it that a manifest asks for."""

    count: int

    form = "uniform:N"

    @classmethod
    def read(cls, argument: str | None) -> Self | None:
        """A number of frames."""
        count = _count(argument)
        return None if count is None else cls(count)

    def __str__(self) -> str:
        return f"uniform:{self.count}"

    def estimate(self, footage: Footage, frames: range) -> int:
        """N, where there are as many."""
        return min(self.count, len(frames))

    def targets(self, footage: Footage, time_range: TimeRange) -> Sequence[int]:
        """The first frame at or after the middle of each N-th part of the range."""
        positions, start, end = footage.positions, time_range.start, time_range.end
        if not footage.is_timed and len(footage.ticks):
            ticks = footage.ticks.tolist()
            return sorted({bisect.bisect_left(ticks, tick) for tick in uniform_targets(ticks, count=self.count)})
        if not footage.is_timed:
            return uniform_targets(positions, count=self.count)
        low = 0 if start is None else bisect.bisect_left(positions, footage.first_position_from(start))
        high = len(positions) if end is None else bisect.bisect_left(positions, footage.first_position_from(end))
        return uniform_targets(positions[low:high], count=self.count)

    def picker(self, window: Window) -> Picker:
        """Keeps nothing: all samples are among the targets."""
        return ListPicker(())


def _count(argument: str | None) -> int | None:
    if argument is None or not re.fullmatch(r"\d{1,18}", argument, re.ASCII):
        return None
    return int(argument) if 0 < int(argument) <= _MOST_FRAMES else None


_RULES: tuple[type[SamplingRule], ...] = (FpsRule, EveryRule, AllRule, KeyframesRule, UniformRule, ShotsRule)
_OF_RECORDINGS: tuple[type[SamplingRule], ...] = (SlotsRule, PtsRule)


def parse_rule(text: str) -> SamplingRule:
    """Read ``fps:2``, ``fps:30000/1001``, ``every:7``, ``all``, ``keyframes``, ``uniform:9`` or ``shots:2``.

    Raises:
        UsageError: the text is none of these.
    """
    rule = _read(text, _RULES)
    if rule is None:
        *forms, last = (kind.form for kind in _RULES)
        raise UsageError(f"bad sampling rule {text!r}: use {', '.join(forms)} or {last} with R, N > 0")
    return rule


def read_rule(text: str) -> SamplingRule:
    """As ``parse_rule``, of what a rule of ours says of itself: also of those for recordings, which no user writes."""
    return _read(text, _OF_RECORDINGS) or parse_rule(text)


def _read(text: str, kinds: Sequence[type[SamplingRule]]) -> SamplingRule | None:
    name, colon, argument = text.partition(":")
    for kind in kinds:
        if kind.form.partition(":")[0] == name:
            return kind.read(argument if colon else None)
    return None
