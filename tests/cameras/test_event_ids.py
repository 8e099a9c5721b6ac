"""Events have names that sort by time, and are never given twice."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline.records.event_ids import EventIds, microseconds_of

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_names_sort_by_time() -> None:
    ids = EventIds("gate")
    names = [ids.next(NOON + timedelta(seconds=second)) for second in range(100)]

    assert names == sorted(names)


@pytest.mark.parametrize("step_s", [0, -1, -86400], ids=["at-once", "a-second-back", "a-day-back"])
def test_a_clock_that_stands_or_is_set_back_gives_no_name_twice(step_s: int) -> None:
    ids = EventIds("gate")
    names = [ids.next(NOON + timedelta(seconds=second * step_s)) for second in range(10)]

    assert names == sorted(set(names))


def test_a_new_run_goes_on_behind_the_last_name() -> None:
    before = EventIds("gate").next(NOON + timedelta(hours=1))

    assert EventIds("gate", last=before).next(NOON) > before


def test_streams_share_no_name() -> None:
    assert EventIds("gate").next(NOON) != EventIds("door").next(NOON)


def test_a_name_tells_its_time() -> None:
    assert microseconds_of(EventIds("gate").next(NOON)) == int(NOON.timestamp()) * 10**6


@pytest.mark.parametrize("text", ["", "5", "zzzzzzzzzzzzzz-gate"])
def test_what_is_no_name_of_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"id of an event|invalid literal"):
        microseconds_of(text)
