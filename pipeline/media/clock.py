"""Presentation time: from the pts that a stream claims to seconds that only go forward."""

from fractions import Fraction

from pipeline.media.sampling.pickers import Tick, allowance_of
from pipeline.records.segments import VideoFacts

JUMP_S = 10
"""In MPEG-TS and MPEG-PS a jump forward by more is another recording; elsewhere every jump is a gap."""

JUMPING_CONTAINERS = frozenset({"mpegts", "mpeg"})


class Clock:
    """Stamps the frames of one video in presentation order, from its first frame on.

    A new epoch begins where pts falls below the previous frame's, or leaps in MPEG-TS/PS; time then goes on from the
    last frame's end. No two frames of an epoch get the same pts, even where the stream repeats one or leaves it out.
    """

    def __init__(self, facts: VideoFacts) -> None:
        self._facts = facts
        self._allowance = allowance_of(facts.time_base)
        self._ordinal = -1
        self._epoch = 0
        self._origin_pts = facts.origin_pts or 0
        self._origin_time = Fraction(0)
        self._last_claim: int | None = None
        self._last_pts = 0
        self._last_end = Fraction(0)

    def stamp(self, *, pts: int | None, duration: int, is_keyframe: bool) -> tuple[Tick, int, int]:
        """The next frame's tick, epoch and pts; ``pts`` and ``duration`` in the stream's time base."""
        facts = self._facts
        self._ordinal += 1
        if facts.origin_pts is None:
            time = self._ordinal / facts.frame_rate_hz
            return self._tick(time, position=self._ordinal, is_keyframe=is_keyframe), 0, self._ordinal
        pts = self._next_pts(pts)
        time = self._origin_time + (pts - self._origin_pts) * facts.time_base
        if facts.is_sequential:
            self._last_end = time + self._length_of(duration)
        position = self._ordinal if facts.is_sequential else pts
        return self._tick(time, position=position, is_keyframe=is_keyframe), self._epoch, pts

    def _length_of(self, duration: int) -> Fraction:
        """A frame's duration in seconds: the average one where the container rounded that to ticks, or says none."""
        average = 1 / self._facts.frame_rate_hz
        is_rounded = abs(duration * self._facts.time_base - average) < self._facts.time_base
        return average if is_rounded or not duration else duration * self._facts.time_base

    def _tick(self, time: Fraction, *, position: int, is_keyframe: bool) -> Tick:
        return Tick(time=time, position=position, is_keyframe=is_keyframe, allowance=self._allowance)

    def _next_pts(self, claim: int | None) -> int:
        if self._ordinal == 0:
            self._last_claim, self._last_pts = claim, self._origin_pts if claim is None else claim
            return self._last_pts
        if claim is None:  # the frame is shown one frame's duration after the last one
            self._last_pts += max(1, round(1 / self._facts.frame_rate_hz / self._facts.time_base))
            return self._last_pts
        if self._last_claim is None:
            self._last_pts = max(claim, self._last_pts + 1)
        elif self._facts.is_sequential and self._starts_epoch(claim - self._last_claim):
            self._epoch, self._origin_pts, self._origin_time = self._epoch + 1, claim, self._last_end
            self._last_pts = claim
        else:
            self._last_pts = max(claim, self._last_pts + 1)
        self._last_claim = claim
        return self._last_pts

    def _starts_epoch(self, step: int) -> bool:
        is_leap = self._facts.container in JUMPING_CONTAINERS and step * self._facts.time_base > JUMP_S
        return step < 0 or is_leap
