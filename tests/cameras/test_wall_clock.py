"""When slots were captured: as even as the camera, whatever the network does to its frames."""

from fractions import Fraction

import pytest

from pipeline.cameras.hosting.wall_clock import SlotClock

STARTED_S = 1_800_000_000.0
RATE_HZ = Fraction(5)


def clock_after(seconds: float, *, delay_s: float = 0.0, drift: float = 0.0, start_late_s: float = 0.0) -> SlotClock:
    clock = SlotClock(started_at_s=STARTED_S + start_late_s, rate_hz=RATE_HZ)
    for frame in range(1, int(seconds * 25)):
        time_s = frame / 25
        is_late = 0.3 * seconds < time_s < 0.3 * seconds + 3
        clock.see(time_s=time_s, arrived_at_s=STARTED_S + time_s * (1 + drift) + (delay_s if is_late else 0))
    return clock


def strays_by_s(clock: SlotClock, slot: int) -> float:
    return clock.captured_at(slot).timestamp() - (STARTED_S + slot / RATE_HZ)


def test_slots_follow_each_other_evenly() -> None:
    clock = clock_after(1)

    assert [strays_by_s(clock, slot) for slot in (0, 5, 5000)] == pytest.approx([0, 0, 0], abs=1e-5)


def test_frames_that_a_network_holds_back_for_seconds_change_nothing() -> None:
    clock = clock_after(60, delay_s=4)

    assert strays_by_s(clock, 300) == pytest.approx(0, abs=0.01)
    assert clock.lateness_s == pytest.approx(0, abs=0.01)


def test_a_first_frame_that_was_late_is_made_up_for() -> None:
    clock = clock_after(120, start_late_s=0.4)

    assert strays_by_s(clock, 600) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("drift", [1e-4, -1e-4], ids=["slow", "fast"])
def test_a_camera_whose_clock_strays_is_followed(drift: float) -> None:
    clock = clock_after(3600, drift=drift)

    assert strays_by_s(clock, 18_000) == pytest.approx(3600 * drift, abs=0.1)


def test_a_camera_that_falls_behind_for_good_is_noticed() -> None:
    clock = SlotClock(started_at_s=STARTED_S, rate_hz=RATE_HZ)
    for frame in range(25 * 60):
        time_s = frame / 25
        clock.see(time_s=time_s, arrived_at_s=STARTED_S + time_s + (12 if time_s > 20 else 0))

    assert clock.lateness_s > 10


def test_times_of_slots_rise_whatever_the_frames_do() -> None:
    clock = SlotClock(started_at_s=STARTED_S, rate_hz=Fraction(25))
    times = []
    for frame in range(2000):
        clock.see(time_s=frame / 25, arrived_at_s=STARTED_S + frame / 25 + (frame % 7) - (frame // 500))
        times.append(clock.captured_at(frame))

    assert times == sorted(set(times))
