"""``--since`` and ``--until``: what they say, and what lies between them."""

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.records.periods import Period, moment_of

DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("1970-01-02", DAY_S, id="a-date-begins-at-midnight-utc"),
        pytest.param("1970-01-02T00:00", DAY_S, id="no-zone-is-utc"),
        pytest.param("1970-01-02T00:00:00.500000Z", DAY_S + 0.5, id="as-containers-write-it"),
        pytest.param("1970-01-02T02:00:00+02:00", DAY_S, id="another-zone"),
        pytest.param("1970-01-02 00:00:00", DAY_S, id="a-space"),
    ],
)
def test_moments_are_iso_8601(text: str, seconds: float) -> None:
    assert moment_of(text) == seconds


def test_period_holds_its_begin_and_not_its_end() -> None:
    day = Period.parse("1970-01-02", "1970-01-03")
    moments = np.array([DAY_S - 1, DAY_S, 2 * DAY_S - 1, 2 * DAY_S, np.nan])
    assert day.holds(moments).tolist() == [False, True, True, False, False]


def test_stretch_touches_a_period_with_any_of_its_moments() -> None:
    day = Period.parse("1970-01-02", "1970-01-03")
    first = np.array([0, 0, DAY_S + 1, 2 * DAY_S, np.nan])
    last = np.array([DAY_S - 1, DAY_S, DAY_S + 2, 3 * DAY_S, np.nan])
    assert day.touches(first, last).tolist() == [False, True, True, False, False]


def test_without_bounds_everything_lies_in_it() -> None:
    always = Period.parse(None, None)
    assert always.is_open
    assert always.holds(np.array([0.0, np.nan])).all()
    assert always.touches(np.array([np.nan]), np.array([np.nan])).all()


@pytest.mark.parametrize(
    ("since", "until"),
    [("yesterday", None), (None, "2026-13-01"), ("", None), ("2026-01-02", "2026-01-01"), ("2026-01-01", "2026-01-01")],
)
def test_what_is_no_period_is_refused(since: str | None, until: str | None) -> None:
    with pytest.raises(UsageError):
        Period.parse(since, until)
