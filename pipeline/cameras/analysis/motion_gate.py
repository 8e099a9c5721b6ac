"""The motion gate: whether anything moves in the picture, from its small luma plane alone.

A picture is compared with the one half a second before it, block by block, after both have been brought to the same
exposure. What stands still has stopped moving, so the gate closes while somebody waits.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from pipeline.cameras.analysis.lighting import Light, Luma, gain_between, light_of, spread_of
from pipeline.cameras.rules.happenings import Happening, Moment
from pipeline.records.events import EventType
from pipeline.records.streams import MotionLevel

_BLOCKS_ACROSS = 40
"""Means of blocks have little noise left; at 160 pixels they are of 4 x 4."""

_BEHIND_S = 0.4
"""How far back a picture is compared: what moves slowly has come some way by then."""

_HOLD_S = 1.0
"""The gate stays open for this long after the last motion."""

_NOISE_TIMES = 5.0

_STEADY_S = 4.0
"""The noise is the least that was seen within this time: motion itself adds to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sensitivity:
    """What counts as motion: blocks that changed by this much, on so large a share of the picture."""

    difference: float
    share: float


_SENSITIVITIES = {
    MotionLevel.LOW: _Sensitivity(difference=20.0, share=0.02),
    MotionLevel.MEDIUM: _Sensitivity(difference=12.0, share=0.005),
    MotionLevel.HIGH: _Sensitivity(difference=8.0, share=0.002),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    at: Moment
    blocks: Light


class MotionGate:
    """Of one session. The levels are sensitivities: ``high`` opens at the least motion."""

    def __init__(self, level: MotionLevel) -> None:
        """Begin closed, unless the level is ``off``: then the gate is open, and tells nothing."""
        self._sensitivity = _SENSITIVITIES.get(level)
        self._seen: deque[_Seen] = deque()
        self._noise: deque[tuple[float, float]] = deque()
        """When, and how much."""
        self._first_moving: Moment | None = None
        """The first picture of the motion that is under way, or that may begin."""
        self._last_moving_s = 0.0
        self.is_open = self._sensitivity is None

    def look(self, luma: Luma, at: Moment) -> Happening | None:
        """Take the next picture, and tell whether motion has begun or is over.

        Motion begins with the first of two moving pictures in a row: one alone may be a flash, or damage.
        """
        if self._sensitivity is None:
            return None
        is_moving = self._is_moving(_blocks_of(light_of(luma)), at, self._sensitivity)
        if is_moving:
            self._last_moving_s = at.time_s
        if self.is_open:
            return None if at.time_s - self._last_moving_s < _HOLD_S else self._close(at)
        if not is_moving:
            self._forget(self._first_moving)
            self._first_moving = None
            return None
        if self._first_moving is None:
            self._first_moving = at
            return None
        self.is_open = True
        return Happening(type=EventType.MOTION_START, at=self._first_moving)

    def end(self, at: Moment) -> Happening | None:
        """The session is over, and any motion with it."""
        return self._close(at) if self.is_open and self._sensitivity is not None else None

    def _forget(self, odd: Moment | None) -> None:
        """Compare no picture with one that was like none of its neighbours."""
        if odd is not None:
            self._seen = deque(each for each in self._seen if each.at != odd)

    def _close(self, at: Moment) -> Happening:
        self.is_open = False
        first, self._first_moving = self._first_moving or at, None
        moved_s = max(0.0, self._last_moving_s - first.time_s)
        return Happening(type=EventType.MOTION_END, at=at, value={"moved_s": round(moved_s, 6)})

    def _is_moving(self, blocks: Light, at: Moment, sensitivity: _Sensitivity) -> bool:
        if self._seen and self._seen[-1].blocks.shape != blocks.shape:
            self._seen.clear()
        while len(self._seen) > 1 and self._seen[1].at.time_s <= at.time_s - _BEHIND_S:
            self._seen.popleft()
        self._seen.append(_Seen(at=at, blocks=blocks))
        if len(self._seen) == 1:  # compared with itself, it would seem free of noise
            return False
        before = self._seen[0].blocks
        gain = gain_between(before, blocks)
        difference = blocks - np.minimum(gain * before, blocks.max(initial=1))
        threshold = max(sensitivity.difference, _NOISE_TIMES * self._noise_with(spread_of(difference), at.time_s))
        # A darker exposure makes every difference smaller, and a brighter one larger.
        threshold *= min(1.0, max(0.4, gain))
        return int(np.count_nonzero(np.abs(difference) > threshold)) > sensitivity.share * blocks.size

    def _noise_with(self, noise: float, time_s: float) -> float:
        while self._noise and self._noise[0][0] < time_s - _STEADY_S:
            self._noise.popleft()
        self._noise.append((time_s, noise))
        return min(value for _, value in self._noise)


def _blocks_of(light: Light) -> Light:
    height, width = light.shape
    size = max(1, round(width / _BLOCKS_ACROSS))
    if min(height, width) < size:
        return light
    rows, columns = height // size, width // size
    tiles = light[: rows * size, : columns * size].reshape(rows, size, columns, size)
    means: Light = tiles.mean(axis=(1, 3), dtype=np.float32)
    return means
