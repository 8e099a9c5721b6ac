"""``shots:N``: frames of each shot, by its own length."""

import io
from fractions import Fraction

import pytest
from media import MAX_PIXELS, WHOLE, decode
from odd_videos import retimed
from videos import video_bytes

from pipeline.errors import UsageError
from pipeline.media.probe.plan_video import PlanRequest, plan_video
from pipeline.media.sampling.footage import ShotSpan
from pipeline.media.sampling.rules import parse_rule
from pipeline.media.sampling.shots import ShotsRule
from pipeline.records.segments import Sizing, TimeRange, VideoPlan

TICKS = 512
"""Of a frame at 25/s in these files."""


def spans(*lengths: int) -> tuple[ShotSpan, ...]:
    """Shots of so many frames, one after the other."""
    starts = [sum(lengths[:place]) for place in range(len(lengths))]
    return tuple(
        ShotSpan(start_pts=start * TICKS, end_pts=(start + length) * TICKS, first_frame=start, num_frames=length)
        for start, length in zip(starts, lengths, strict=True)
    )


def planned(
    data: bytes,
    count: int,
    shots: tuple[ShotSpan, ...],
    *,
    segment_s: float | None = None,
    time_range: TimeRange = WHOLE,
) -> VideoPlan:
    request = PlanRequest(
        uri="memory",
        size_bytes=len(data),
        rule=parse_rule(f"shots:{count}").of_video(shots),
        time_range=time_range,
        sizing=Sizing(duration_s=segment_s),
        max_pixels=MAX_PIXELS,
    )
    return plan_video(io.BytesIO(data), request)


def test_rule_is_read_and_written_back() -> None:
    assert parse_rule("shots:3") == ShotsRule(3)
    assert str(ShotsRule(3, spans(4))) == "shots:3"


@pytest.mark.parametrize("text", ["shots", "shots:", "shots:0", "shots:-1", "shots:1.5", "shots:1001", "shots:x"])
def test_no_frames_of_each_shot_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="bad sampling rule"):
        parse_rule(text)


@pytest.mark.parametrize("segment_s", [None, 0.5])
@pytest.mark.parametrize(
    ("count", "lengths", "expected"),
    [
        pytest.param(1, (60, 40), [30, 80], id="the-middle"),
        pytest.param(2, (60, 40), [15, 45, 70, 90], id="quarters"),
        pytest.param(2, (3, 1, 96), [1, 3, 4, 28, 76], id="the-first-frame-at-or-after-and-picks-merge"),
        pytest.param(2, (61, 39), [16, 46, 71, 91], id="between-two-frames"),
    ],
)
def test_picks_are_spread_over_each_shot(
    count: int, lengths: tuple[int, ...], expected: list[int], segment_s: float | None
) -> None:
    data = video_bytes(num_frames=100)
    plan = planned(data, count, spans(*lengths), segment_s=segment_s)
    assert sum(segment.num_samples for segment in plan.segments) == len(expected)
    assert [pts // TICKS for pts in decode(data, plan, f"shots:{count}").pts] == expected


def test_a_range_of_a_manifest_keeps_its_picks_alone() -> None:
    time_range = TimeRange(start=Fraction(1), end=Fraction(3))
    data = video_bytes(num_frames=100)
    plan = planned(data, 2, spans(60, 40), time_range=time_range)
    assert [pts // TICKS for pts in decode(data, plan, "shots:2", time_range=time_range).pts] == [45, 70]


def test_where_the_clock_jumps_frames_are_counted() -> None:
    steady = video_bytes(options={"preset": "ultrafast", "g": "25", "bf": "0"}, num_frames=90)
    data = retimed(steady, kind="mpegts", pts_ms=lambda index: 40 * (index if index < 60 else index + 1000))
    plan = planned(data, 2, spans(60, 30))
    assert plan.facts.is_sequential
    found = decode(data, plan, "shots:2")
    assert [mark.epoch for mark in found.marks] == [0, 0, 1, 1]
    assert [round(mark.time_s * 25) for mark in found.marks] == [15, 45, 68, 83]
