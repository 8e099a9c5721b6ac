"""What a sampling rule needs to know of a video: counts, timestamps and where it ends."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """A video as its packets describe it, before anything but its first frames is decoded.

    A *position* is a frame's pts in the time base ``time_base``, counted from ``origin_pts``. In a video that is
    decoded in one pass (``is_sequential``) it is the frame's ordinal in decoding output: ``origin_pts`` is then 0 and
    ``time_base`` the average time from frame to frame.
    """

    is_sequential: bool
    is_timed: bool
    """Whether ``time_of`` is exact. It is not where the frames of a sequential video have pts: positions count them."""
    num_frames: int
    origin_pts: int
    time_base: Fraction
    allowance_s: Fraction
    """How much later than its position says a frame counts as shown: see ``pickers.allowance_of``."""
    end_s: Fraction
    """Where it ends, in seconds from the first frame."""
    positions: Sequence[int]
    """Every frame's position in presentation order; empty where only the header's index was read."""
    ticks: NDArray[np.int64]
    """Every frame's time from the first, in the stream's time base; where pts are not known, dts stand for them.

    Empty in a sequential video whose clock falls or leaps, or that has none.
    """
    keyframes: Sequence[int]
    """How many frames come before each keyframe in decoding order."""
    keyframe_positions: Sequence[int] | None
    """The positions of keyframes, in presentation order; ``None`` where they are not known."""
    cost_per_frame_s: float

    @property
    def first_position(self) -> int:
        """A position that no frame comes before."""
        return min([self.origin_pts, *self.positions[:1]])

    def time_of(self, position: int) -> Fraction:
        """Seconds from the first frame."""
        return (position - self.origin_pts) * self.time_base

    def first_position_from(self, time: Fraction) -> int:
        """The first position that counts as shown at or after ``time``."""
        return self.origin_pts + math.ceil((time - self.allowance_s) / self.time_base)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotSpan:
    """Where a shot lies: from which pts up to which; in a video that is decoded in one pass, from which frame on."""

    start_pts: int
    end_pts: int
    first_frame: int
    num_frames: int


def uniform_targets(positions: Sequence[int], *, count: int) -> list[int]:
    """``uniform:N`` over increasing positions: the first at or after first + (k + 1/2) D/N, equal picks merged."""
    if not positions:
        return []
    first, span = positions[0], positions[-1] - positions[0]
    # (k + 1/2) D/N <= p - first, in integers: (2k + 1) D <= 2N (p - first)
    thresholds = (first + -((2 * k + 1) * span // (-2 * count)) for k in range(count))
    return sorted({positions[bisect.bisect_left(positions, threshold)] for threshold in thresholds})
