"""The pts of packets that come in now: a camera may leave out the first ones, or send none at all."""

from fractions import Fraction

ARRIVAL_TIME_BASE = Fraction(1, 90_000)
"""Of pts that are made from the time of arrival."""

_FIRST_UNKNOWN = -(1 << 61)
_MOST_UNKNOWN = 25
_LONGEST_UNKNOWN_S = 1.0


def is_unknown(pts: int) -> bool:
    """Whether a pts only stands for one that will be told from the frames that follow."""
    return pts < _FIRST_UNKNOWN + _MOST_UNKNOWN + 1


class PacketClock:
    """Gives each packet a pts, in decoding order.

    A stream's own pts stand. Where the first packets lack theirs, these get stand-ins, in order. Where none comes
    within a second, pts are made: from arrival, or for a file from its frame rate.
    """

    def __init__(self, *, time_base: Fraction, frame_rate_hz: Fraction, is_live: bool, has_pts: bool = True) -> None:
        """Start at a stream's first packet.

        Args:
            time_base: the stream's.
            frame_rate_hz: its average.
            is_live: whether packets come when the camera sends them.
            has_pts: whether the stream's own pts mean anything.
        """
        self._scale = time_base.numerator
        self._own_time_base = Fraction(1, time_base.denominator)  # what an MP4 can hold
        self._frame_rate_hz = frame_rate_hz
        self._is_live = is_live
        self._last: int | None = None
        self._first_arrived_s: float | None = None
        self._num_unknown = 0
        self.makes_pts = not has_pts

    @property
    def time_base(self) -> Fraction:
        """Of the pts that are given; fixed from the first one on that is no stand-in."""
        if not self.makes_pts:
            return self._own_time_base
        return ARRIVAL_TIME_BASE if self._is_live else Fraction(1, self._frame_rate_hz.numerator)

    @property
    def frame_ticks(self) -> int:
        """How long a frame is shown on average, in ``time_base``."""
        return max(1, round(1 / self._frame_rate_hz / self.time_base))

    def stamp(self, pts: int | None, *, duration: int, arrived_s: float) -> int:
        """The next packet, of ``pts`` and ``duration`` in the stream's time base."""
        if self._first_arrived_s is None:
            self._first_arrived_s = arrived_s
        if self._last is None and pts is None and not self.makes_pts:
            if self._num_unknown < _MOST_UNKNOWN and arrived_s - self._first_arrived_s <= _LONGEST_UNKNOWN_S:
                self._num_unknown += 1
                return _FIRST_UNKNOWN + self._num_unknown
            self.makes_pts = True
        if self.makes_pts:
            self._last = self._made(arrived_s - self._first_arrived_s)
        elif pts is None:
            self._last = (self._last or 0) + (duration * self._scale or self.frame_ticks)
        else:
            self._last = pts * self._scale
        return self._last

    def _made(self, age_s: float) -> int:
        if not self._is_live:
            return self._num_unknown * self.frame_ticks if self._last is None else self._last + self.frame_ticks
        return max(0 if self._last is None else self._last + 1, int(age_s / ARRIVAL_TIME_BASE))
