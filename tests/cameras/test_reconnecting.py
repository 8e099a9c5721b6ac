"""A stream comes back soon, and never asks too often; what was missed meanwhile is counted."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from pipeline.cameras.hosting.reconnecting import BackOff
from pipeline.lake.live.gap_slots import gap_between_sessions
from pipeline.records.streams import GapReason

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_pauses_double_from_one_second_to_half_a_minute_with_jitter() -> None:
    back_off = BackOff(seed=1)
    pauses = [back_off.pause_s() for _ in range(9)]

    for pause_s, longest_s in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30], strict=True):
        assert 0.75 * longest_s <= pause_s <= longest_s
    assert len(set(pauses)) == len(pauses)


def test_a_picture_makes_the_next_pause_short_again() -> None:
    back_off = BackOff()
    for _ in range(9):
        back_off.pause_s()
    back_off.has_worked()

    assert back_off.pause_s() <= 1


def test_streams_of_one_host_do_not_all_ask_at_once() -> None:
    assert len({BackOff().pause_s() for _ in range(8)}) == 8


@pytest.mark.parametrize(
    ("distance_s", "rate_hz", "num_slots"),
    [
        pytest.param(5, Fraction(5), 25, id="whole"),
        pytest.param(5.19, Fraction(5), 25, id="the-floor"),
        pytest.param(2, Fraction(25, 2), 25, id="a-broken-rate"),
        pytest.param(90, Fraction(1, 60), 1, id="slow"),
        pytest.param(86_400, Fraction(30000, 1001), 2_589_410, id="a-day"),
    ],
)
def test_the_slots_between_sessions_are_the_floor_of_their_distance(
    distance_s: float, rate_hz: Fraction, num_slots: int
) -> None:
    gap = gap_between_sessions(
        video_id=None,
        uri="rtsp://camera/1",
        stream="gate",
        reason=GapReason.DISCONNECTED,
        captured_from=NOON,
        captured_to=NOON + timedelta(seconds=distance_s),
        rate_hz=rate_hz,
    )

    assert gap is not None
    assert gap.num_slots == num_slots
    assert (gap.start_pts, gap.end_pts, gap.start_s, gap.end_s) == (None, None, None, None)


@pytest.mark.parametrize("distance_s", [0.199, 0, -3], ids=["less-than-a-slot", "none", "the-clock-was-set-back"])
def test_without_room_for_a_slot_there_is_no_gap(distance_s: float) -> None:
    gap = gap_between_sessions(
        video_id="0" * 20,
        uri="rtsp://camera/1",
        stream="gate",
        reason=GapReason.STALLED,
        captured_from=NOON,
        captured_to=NOON + timedelta(seconds=distance_s),
        rate_hz=Fraction(5),
    )

    assert gap is None
