"""The wall clock of a session's slots, from when its frames arrive.

Frames arrive late now and then, and never early: the network and the decoder hold them back. So the clock follows the
earliest of the last few seconds. A camera's own clock runs a little fast or slow, which over a day makes seconds: the
slots' clock is led after it by a little each second, so that it neither jumps nor stands still.
"""

from collections import deque
from datetime import UTC, datetime, timedelta
from fractions import Fraction

_WATCHED_S = 10
"""Over how many seconds of frames the earliest is looked for."""
_STEERED = 0.005
"""How far the clock is led in a second: more than any camera strays, and too little for anybody to see."""


class SlotClock:
    """Tells when slots were captured. Times are the wall clock's, in seconds since 1970, and rise with the slots."""

    def __init__(self, *, started_at_s: float, rate_hz: Fraction) -> None:
        """Slot 0 begins with the first frame, which arrived at ``started_at_s``."""
        self._offset_s = started_at_s
        self._rate_hz = rate_hz
        self._steered_to_s = 0.0
        self._earliest: deque[tuple[float, float]] = deque()
        """Offsets that may become the earliest, each with the session's time of its frame; both rise."""
        self.lateness_s = 0.0
        """How much later than the clock says even the earliest of the last seconds arrived."""

    def see(self, *, time_s: float, arrived_at_s: float) -> None:
        """A frame has arrived; ``time_s`` counts from the session's first frame, by pts."""
        offset_s = arrived_at_s - time_s
        while self._earliest and self._earliest[-1][1] >= offset_s:
            self._earliest.pop()
        self._earliest.append((time_s, offset_s))
        while self._earliest[0][0] < time_s - _WATCHED_S:
            self._earliest.popleft()
        earliest_s = self._earliest[0][1]
        # A session of few seconds has not shown yet whether its first frame was an early one.
        if time_s > self._steered_to_s:
            room_s = (time_s - self._steered_to_s) * _STEERED
            is_known = time_s >= _WATCHED_S
            wanted_s = earliest_s - self._offset_s
            self._offset_s += max(-room_s, min(room_s if is_known else 0.0, wanted_s))
            self._steered_to_s = time_s
        self.lateness_s = earliest_s - self._offset_s

    def captured_at(self, slot: int) -> datetime:
        """When a slot begins."""
        return self.at(Fraction(slot) / self._rate_hz)

    def at(self, time_s: Fraction) -> datetime:
        """The wall clock of a moment that is counted from the session's first frame."""
        return datetime.fromtimestamp(self._offset_s, UTC) + timedelta(microseconds=round(time_s * 1_000_000))
