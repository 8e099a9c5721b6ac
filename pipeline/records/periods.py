"""A stretch of the calendar: what ``--since`` and ``--until`` choose by."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError

TIMES_HELP = "an ISO 8601 time or date, UTC where it names no zone"
"""What a user may write, for the help of an option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The moments from ``begin_s`` on and before ``end_s``, in seconds since the Unix epoch.

    The moment of a sample is its ``captured_at``: of a stream the wall clock, of a file when its video was recorded
    (its ``creation_time``) plus the sample's ``time_s``. What has no such moment lies in no period but the one without
    bounds.
    """

    begin_s: float = -math.inf
    end_s: float = math.inf

    @classmethod
    def parse(cls, since: str | None, until: str | None) -> Self:
        """Read both bounds, each a time or a date in ISO 8601, or ``None``: open.

        Raises:
            UsageError: one of them is neither, or the period is empty.
        """
        begin_s = -math.inf if since is None else _seconds(since, option="--since")
        end_s = math.inf if until is None else _seconds(until, option="--until")
        if begin_s >= end_s:
            raise UsageError(f"nothing lies between --since {since} and --until {until}: the first must be earlier")
        return cls(begin_s=begin_s, end_s=end_s)

    @property
    def is_open(self) -> bool:
        """Whether it has no bound, and everything lies in it."""
        return self.begin_s == -math.inf and self.end_s == math.inf

    def holds(self, moments_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of these moments lie in it; NaN: the moment is not known."""
        is_inside: NDArray[np.bool_] = (moments_s >= self.begin_s) & (moments_s < self.end_s)
        return is_inside | self.is_open

    def touches(self, first_s: NDArray[np.float64], last_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of the stretches from a first to a last moment, both included, have a moment in it."""
        is_touched: NDArray[np.bool_] = (last_s >= self.begin_s) & (first_s < self.end_s)
        return is_touched | self.is_open


ALWAYS = Period()
"""The period without bounds."""


def moment_of(text: str) -> float:
    """A time or a date in ISO 8601 as seconds since the Unix epoch; UTC where it names no zone.

    Raises:
        ValueError: it is neither.
    """
    return _moment(text).timestamp()


def recorded_at(creation_time: str | None) -> datetime | None:
    """When a video's first frame was recorded, as its container says; ``None``: it does not, or says something odd."""
    try:
        return None if creation_time is None else _moment(creation_time).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(text: str, *, option: str) -> float:
    try:
        return moment_of(text)
    except (ValueError, OverflowError):
        raise UsageError(f"bad {option} {text!r}: give a time or a date, such as 2026-11-26T08:30:00Z") from None
