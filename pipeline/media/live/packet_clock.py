"""The pts of packets that come in now: a camera may leave out the first ones, or send none at all."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Generic, TypeVar

_T = TypeVar("_T")

ARRIVAL_TIME_BASE = Fraction(1, 90_000)
"""Of pts that are made from the time of arrival."""

_MOST_HELD = 25
_LONGEST_HELD_S = 1.0


class PacketClock(Generic[_T]):
    """Gives each packet a pts, in decoding order.

    A stream's own pts stand. Where the first packets lack theirs, they are held until one has it, and are counted back
    from there. Where none comes within a second, pts are made: from arrival, or for a file from its frame rate.
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
        self._held: list[tuple[_T, float]] | None = []
        self._last: int | None = None
        self._first_arrival_s = 0.0
        self.makes_pts = False
        if not has_pts:
            self._make_pts()

    @property
    def time_base(self) -> Fraction:
        """Of the pts that are given; fixed from the first one on."""
        if not self.makes_pts:
            return self._own_time_base
        return ARRIVAL_TIME_BASE if self._is_live else Fraction(1, self._frame_rate_hz.numerator)

    def offer(self, packet: _T, *, pts: int | None, duration: int, arrived_s: float) -> Iterator[tuple[_T, int]]:
        """The next packet, of ``pts`` and ``duration`` in the stream's time base.

        Yields:
            It and those that were held, with their pts; or nothing, where it is held.
        """
        if self._held is None:
            yield packet, self._next(pts, duration, arrived_s)
            return
        self._held.append((packet, arrived_s))
        is_late = len(self._held) >= _MOST_HELD or arrived_s - self._held[0][1] > _LONGEST_HELD_S
        if pts is not None:
            step = max(1, duration or round(1 / self._frame_rate_hz / self._own_time_base / self._scale))
            held, self._held = self._held, None
            for place, (each, _) in enumerate(held, start=1 - len(held)):
                self._last = (pts + place * step) * self._scale
                yield each, self._last
        elif is_late:
            yield from self.finish()

    def finish(self) -> Iterator[tuple[_T, int]]:
        """The packets that are still held, where none of them has a pts."""
        held, self._held = self._held or [], None
        if held:
            self._make_pts()
        for packet, arrived_s in held:
            yield packet, self._next(None, 0, arrived_s)

    def _make_pts(self) -> None:
        self.makes_pts, self._held = True, None

    def _next(self, pts: int | None, duration: int, arrived_s: float) -> int:
        if self.makes_pts:
            pts = self._made(arrived_s)
        elif pts is None:
            step = duration * self._scale or round(1 / self._frame_rate_hz / self.time_base)
            pts = (self._last or 0) + max(1, step)
        else:
            pts *= self._scale
        self._last = pts
        return pts

    def _made(self, arrived_s: float) -> int:
        if self._last is None:
            self._first_arrival_s = arrived_s
            return 0
        if not self._is_live:
            return self._last + self._frame_rate_hz.denominator
        return max(self._last + 1, int((arrived_s - self._first_arrival_s) / ARRIVAL_TIME_BASE))
