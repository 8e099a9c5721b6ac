"""When to try again."""

import random

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
