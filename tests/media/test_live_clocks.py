"""The clocks of what comes in now: missing, jumping and lying pts; and the pace of what has none of its own."""

from fractions import Fraction
from itertools import pairwise

import pytest

from pipeline.media.live.frame_clock import FrameClock, Look, Pace, Stamp
from pipeline.media.live.packet_clock import PacketClock, is_unknown
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.segments import Window

LOOK = Look(width=96, height=64, pix_fmt="yuv420p", rotation=0, rate_hz=None)
TICKS = Fraction(1, 90_000)


def packet_clock(*, is_live: bool = True, has_pts: bool = True, time_base: Fraction = TICKS) -> PacketClock:
    return PacketClock(time_base=time_base, frame_rate_hz=Fraction(25), is_live=is_live, has_pts=has_pts)


def stamped(
    times: list[tuple[float, float]], *, rate: str = "5", is_live: bool = True, looks: list[Look] | None = None
) -> list[Stamp]:
    """Frames of (pts in seconds, arrival), in the order in which they come."""
    clock = FrameClock(time_base=TICKS, rate_hz=Fraction(rate), detect_rate_hz=None, is_live=is_live, why="connected")
    looks = looks or [LOOK] * len(times)
    return [
        clock.stamp(round(pts / TICKS), look, arrived_s=arrived)
        for (pts, arrived), look in zip(times, looks, strict=True)
    ]


def begins(stamps: list[Stamp]) -> list[tuple[int, str]]:
    return [(place, stamp.begins) for place, stamp in enumerate(stamps) if stamp.begins is not None]


class TestPackets:
    def test_own_pts_stand(self) -> None:
        clock = packet_clock()
        assert [clock.stamp(pts, duration=3600, arrived_s=9.0) for pts in (7200, 18000, 10800)] == [7200, 18000, 10800]

    def test_a_time_base_that_no_mp4_holds_is_made_finer(self) -> None:
        clock = packet_clock(time_base=Fraction(1001, 30_000))
        assert [clock.stamp(pts, duration=1, arrived_s=9.0) for pts in (0, 1)] == [0, 1001]
        assert clock.time_base == Fraction(1, 30_000)

    def test_the_first_ones_may_lack_theirs(self) -> None:
        clock = packet_clock()
        stamps = [clock.stamp(pts, duration=3600, arrived_s=9.0) for pts in (None, None, 7200)]
        assert [is_unknown(pts) for pts in stamps] == [True, True, False]
        assert stamps == sorted(set(stamps))

    def test_a_stream_without_any_has_the_clock_of_its_arrival(self) -> None:
        clock = packet_clock()
        stamps = [clock.stamp(None, duration=0, arrived_s=5 + index / 10) for index in range(30)]
        known = [pts for pts in stamps if not is_unknown(pts)]
        assert known[-1] == pytest.approx(2.9 * 90_000, abs=2)
        assert 10 < len(known) < 30

    def test_motion_jpeg_has_it_from_the_start_and_no_pts_twice(self) -> None:
        clock = packet_clock(has_pts=False)
        stamps = [clock.stamp(4000 * index, duration=1, arrived_s=5 + (index // 2) / 10) for index in range(6)]
        assert stamps[::2] == [0, pytest.approx(9000, abs=1), pytest.approx(18000, abs=1)]
        assert all(earlier < later for earlier, later in pairwise(stamps))

    def test_a_file_without_pts_is_counted(self) -> None:
        clock = packet_clock(is_live=False, has_pts=False)
        stamps = [clock.stamp(None, duration=0, arrived_s=5.0) * clock.time_base for _ in range(3)]
        assert stamps == [0, Fraction(1, 25), Fraction(2, 25)]


class TestFrames:
    def test_slots_are_those_of_the_sampling_rule(self) -> None:
        times = [(index / 30, index / 30) for index in range(90)]
        rule = parse_rule("fps:7").picker(Window(first=0, end=None))
        assert rule is not None
        stamps = stamped(times, rate="7")
        assert [stamp.slot for stamp in stamps if stamp.slot is not None] == list(range(21))

    def test_a_gap_makes_no_burst(self) -> None:
        times = [(0, 0), (0.2, 0.2), (1.1, 1.1), (1.15, 1.15), (1.2, 1.2)]
        assert [stamp.slot for stamp in stamped(times)] == [0, 1, 5, None, 6]

    def test_a_repeated_pts_is_a_tick_later(self) -> None:
        stamps = stamped([(0, 0), (0.04, 0.04), (0.04, 0.08), (0.08, 0.12)])
        assert [stamp.pts for stamp in stamps] == [0, 3600, 3601, 7200]
        assert begins(stamps) == [(0, "connected")]

    @pytest.mark.parametrize(
        ("times", "places"),
        [
            pytest.param([(0, 0), (1, 1), (0.5, 1.1)], [0, 2], id="back"),
            pytest.param([(0, 0), (1, 1), (9, 1.1)], [0, 2], id="forward"),
            pytest.param([(0, 0), (1, 1), (9, 9.1)], [0], id="a-gap-that-took-its-time"),
            pytest.param([(0, 0), (1, 9), (9, 9.1)], [0], id="a-gap-that-the-decoder-was-late-to-show"),
            pytest.param([(0, 0), (1, 0.1), (2, 0.2), (3, 0.3), (4, 4)], [0], id="a-burst-at-the-start"),
            pytest.param([(0, 0), (1, 1), (1.04, 8), (1.08, 8)], [0], id="a-stall"),
            pytest.param([(index, index * 2) for index in range(12)], [0, 11], id="a-clock-too-slow"),
            pytest.param([(index * 2, index) for index in range(12)], [0, 11], id="a-clock-too-fast"),
        ],
    )
    def test_a_clock_that_jumps_or_lies_begins_a_session(
        self, times: list[tuple[float, float]], places: list[int]
    ) -> None:
        stamps = stamped(times)
        assert [place for place, _ in begins(stamps)] == places
        assert all(stamps[place].slot == 0 and stamps[place].time_s == 0 for place in places)

    def test_in_a_file_a_gap_of_ten_seconds_is_waited_for_and_no_longer_one(self) -> None:
        assert begins(stamped([(0, 0), (9, 0), (20, 0)], is_live=False)) == [(0, "connected"), (2, "clock")]

    def test_what_changes_in_the_picture_begins_a_session(self) -> None:
        large = Look(width=192, height=64, pix_fmt="yuv420p", rotation=0, rate_hz=Fraction(25))
        slow = Look(width=192, height=64, pix_fmt="yuv420p", rotation=0, rate_hz=Fraction(12))
        stamps = stamped([(index, index) for index in range(4)], looks=[LOOK, large, slow, slow])
        assert begins(stamps) == [(0, "connected"), (1, "size"), (2, "rate")]


class TestPaces:
    def test_frames_are_shown_when_they_are_due(self) -> None:
        pace = Pace()
        dues = [pace.due_s(index / 10, now_s=100.0 + index / 100, is_first=index == 0) for index in range(4)]
        assert dues == [pytest.approx(100 + index / 10) for index in range(4)]

    def test_what_is_late_catches_up_by_a_quarter_faster(self) -> None:
        pace = Pace()
        pace.due_s(0.0, now_s=100.0, is_first=True)
        assert pace.due_s(0.1, now_s=105.0, is_first=False) < 105
        assert pace.due_s(0.2, now_s=105.0, is_first=False) == pytest.approx(105.08)
        assert pace.due_s(5.5, now_s=105.1, is_first=False) == pytest.approx(105.08 + 0.8 * 5.3)

    def test_another_session_follows_at_once(self) -> None:
        pace = Pace()
        pace.due_s(0.0, now_s=100.0, is_first=True)
        pace.due_s(3.0, now_s=103.0, is_first=False)
        assert pace.due_s(0.0, now_s=103.01, is_first=True) == pytest.approx(103.01)
