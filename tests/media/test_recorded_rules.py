"""What is decoded of a recording: exactly the slots that the lake lacks, exactly the frames that it has."""

from fractions import Fraction

import pytest
from media import decode, extract, plan
from recordings import files_of, parts_of
from videos import remuxed, video_bytes

from pipeline.errors import UsageError
from pipeline.media.sampling.recorded import PtsRule, SlotsRule
from pipeline.media.sampling.rules import parse_rule, read_rule

RATE_HZ = Fraction(10)
SHIFT = 12_345_678


def decoded_pts(data: bytes, rule: SlotsRule | PtsRule, *, segment_s: float | None = None) -> list[int]:
    planned = plan(data, str(rule), segment_s=segment_s)
    segments = [segment for segment in planned.segments if segment.targets]
    decoded: list[int] = decode(data, planned, str(rule), segments=segments).pts
    return decoded


@pytest.mark.parametrize(
    "rule",
    [
        SlotsRule.of([3, 4, 9, 12, 13], rate_hz=Fraction(25, 2), time_base=Fraction(1001, 30000), start_pts=-7),
        PtsRule(Fraction(1, 90000), (5, -3, 7)),
    ],
    ids=["slots", "pts"],
)
def test_a_rule_is_read_back_in_the_decoder_and_is_none_for_sample(rule: SlotsRule | PtsRule) -> None:
    assert read_rule(str(rule)) == rule
    with pytest.raises(UsageError, match="bad sampling rule"):
        parse_rule(str(rule))


def test_slots_come_in_ranges() -> None:
    rule = SlotsRule.of([5, 4, 9, 5, 6], rate_hz=RATE_HZ, time_base=Fraction(1, 1000), start_pts=0)

    assert rule.ranges == ((4, 6), (9, 9))
    assert rule.num_listed == 4


@pytest.mark.parametrize("kind", ["mp4", "mpegts", "flv"])
@pytest.mark.parametrize("segment_s", [None, 1.0])
def test_a_slot_gives_the_frame_that_fps_would_have_picked(kind: str, segment_s: float | None) -> None:
    """Whatever the clock says when the session begins, and whichever file the slot lies in."""
    stream = remuxed(video_bytes(num_frames=100), kind=kind)
    planned = plan(stream, f"fps:{RATE_HZ}")
    picked = [pts + SHIFT for pts in extract(stream, f"fps:{RATE_HZ}").pts]
    start_pts = picked[0]
    missing = [2, 3, 4, 17, 25, 37]
    rule = SlotsRule.of(missing, rate_hz=RATE_HZ, time_base=planned.facts.time_base, start_pts=start_pts)

    files = files_of(parts_of(stream, longest_s=0.9, shift=SHIFT))
    found = [pts for file in files for pts in decoded_pts(file, rule, segment_s=segment_s)]

    assert len(files) == 5
    assert found == [picked[slot] for slot in missing]


def test_a_slot_across_two_files_gives_a_frame_of_each() -> None:
    """The sample is the first; ``replay`` knows which recording came before."""
    stream = video_bytes(num_frames=50)
    rule = SlotsRule.of([9], rate_hz=RATE_HZ, time_base=plan(stream).facts.time_base, start_pts=0)

    first, second, _ = files_of(parts_of(stream, longest_s=0.9))

    assert decoded_pts(first, rule) == [extract(stream, f"fps:{RATE_HZ}").pts[9]] == [extract(stream, "all").pts[23]]
    assert decoded_pts(second, rule) == [extract(stream, "all").pts[24]]


def test_a_time_base_that_is_no_unit_fraction_means_the_same_times() -> None:
    """An MP4 counts ticks of its denominator: pts are other numbers for the same times."""
    stream = video_bytes(num_frames=50)
    time_base = plan(stream).facts.time_base
    every_second = extract(stream, "every:2").pts

    assert decoded_pts(stream, PtsRule(time_base * 2, tuple(pts // 2 for pts in every_second))) == every_second


def test_frames_that_are_not_there_give_none() -> None:
    stream = video_bytes(num_frames=50)
    time_base, pts = plan(stream).facts.time_base, extract(stream, "all").pts

    assert decoded_pts(stream, PtsRule(time_base, (pts[3], pts[7] + 1, pts[-1] + 512))) == [pts[3]]
    assert decoded_pts(stream, SlotsRule.of([7000], rate_hz=RATE_HZ, time_base=time_base, start_pts=0)) == []
