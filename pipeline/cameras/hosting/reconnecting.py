"""When to try again, and what is missing between two sessions."""

import math
import random
from datetime import datetime, timedelta
from fractions import Fraction

from pipeline.records.streams import Gap, GapReason

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
_LEAST_SHARE = 0.75
"""Of a pause: many cameras behind a switch that comes back are not to be asked at the same moment."""


class BackOff:
    """The pauses between attempts: one second, then twice as long each time up to half a minute, for ever."""

    def __init__(self, *, seed: int | None = None) -> None:
        """``seed`` makes the pauses the same each time; without it they differ from stream to stream."""
        self._random = random.Random(seed)
        self._next_s = _FIRST_PAUSE_S

    def pause_s(self) -> float:
        """How long to wait before the next attempt."""
        longest_s = self._next_s
        self._next_s = min(_LONGEST_PAUSE_S, 2 * longest_s)
        return self._random.uniform(_LEAST_SHARE, 1) * longest_s

    def has_worked(self) -> None:
        """A picture came: the next pause is a short one again."""
        self._next_s = _FIRST_PAUSE_S


def gap_between_sessions(
    *,
    video_id: str | None,
    uri: str,
    stream: str,
    reason: GapReason,
    captured_from: datetime,
    captured_to: datetime,
    rate_hz: Fraction,
) -> Gap | None:
    """The slots for which nobody was connected, or the camera sent nothing; ``None``: there is room for none.

    Args:
        video_id: the session before; ``None`` before the first one.
        uri: of the source, without user info and query.
        stream: its name.
        reason: ``disconnected`` or ``stalled``.
        captured_from: where the last slot ended.
        captured_to: where the next session's first slot begins.
        rate_hz: of the sampling rule.
    """
    num_slots = math.floor((captured_to - captured_from) // timedelta(microseconds=1) * rate_hz / 1_000_000)
    if num_slots < 1:
        return None
    return Gap(
        video_id=video_id,
        uri=uri,
        stream=stream,
        reason=reason,
        num_slots=num_slots,
        start_pts=None,
        end_pts=None,
        start_s=None,
        end_s=None,
        captured_from=captured_from,
        captured_to=captured_to,
    )
