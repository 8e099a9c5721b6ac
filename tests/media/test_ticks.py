"""``fps:R`` where containers round times to ticks: a frame counts as half a tick, at most half a millisecond, later."""

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from media import decode, extract, plan
from videos import X264, video_bytes

from pipeline.records.segments import TimeRange

NTSC, FILM = Fraction(30000, 1001), Fraction(24000, 1001)
CLIPS: dict[str, tuple[Fraction, Callable[[], bytes]]] = {
    "30-matroska": (Fraction(30), lambda: video_bytes(kind="matroska", rate_hz=Fraction(30))),
    "29.97-matroska": (NTSC, lambda: video_bytes(kind="matroska", rate_hz=NTSC)),
    "30-flv": (Fraction(30), lambda: video_bytes(kind="flv", rate_hz=Fraction(30))),
    "29.97-mp4": (NTSC, lambda: video_bytes(rate_hz=NTSC)),
    "25-mpeg-ts": (Fraction(25), lambda: video_bytes(kind="mpegts")),
    "23.976-mpeg-ts": (FILM, lambda: video_bytes(kind="mpegts", rate_hz=FILM)),
    "25-avi": (Fraction(25), lambda: video_bytes("mpeg4", {"g": "24"}, kind="avi")),
    "25-counted": (Fraction(25), lambda: video_bytes(kind="h264")),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("max_samples", [512, 7])
@pytest.mark.quick_one_in(5)
def test_a_clip_at_its_own_rate_gives_every_frame_however_it_is_cut(name: str, max_samples: int) -> None:
    rate_hz, content = CLIPS[name]
    data = content()
    everything = extract(data, "all").pts
    assert len(everything) == 100
    for segment_s in (0.8, None):
        assert extract(data, f"fps:{rate_hz}", segment_s=segment_s, max_samples=max_samples).pts == everything
        assert extract(data, f"fps:{rate_hz / 5}", segment_s=segment_s, max_samples=max_samples).pts == everything[::5]


@pytest.mark.parametrize("name", CLIPS)
def test_the_plan_knows_how_many_frames_that_are(name: str) -> None:
    rate_hz, content = CLIPS[name]
    for rate, num_samples in ((rate_hz, 100), (rate_hz / 5, 20)):
        planned = plan(content(), f"fps:{rate}", segment_s=0.8)
        assert abs(sum(segment.num_samples for segment in planned.segments) - num_samples) <= 1


def test_a_segment_takes_its_own_first_frame() -> None:
    """Were the slot of a cut given to the segment before, it would decode a keyframe more for each."""
    data = video_bytes(kind="matroska", rate_hz=Fraction(30))
    planned = plan(data, "fps:30", segment_s=0.8)
    assert len(planned.segments) >= 4
    for segment in planned.segments[1:]:
        assert decode(data, planned, "fps:30", segments=[segment]).pts[0] == segment.key_pts


@pytest.mark.parametrize("rate_hz", [Fraction(25), NTSC, FILM], ids=["25", "29.97", "23.976"])
@pytest.mark.parametrize("num_frames", [50, 51, 52, 53])
@pytest.mark.quick_one_in(5)
def test_a_second_recording_in_the_file_gives_every_frame_too(rate_hz: Fraction, num_frames: int) -> None:
    """MPEG-TS rounds times and lengths to ticks: the second recording begins where the first one truly ends."""
    first, second = (
        video_bytes(kind="mpegts", rate_hz=rate_hz, num_frames=num_frames, first_picture=at) for at in (0, 300)
    )
    decoded = extract(first + second, f"fps:{rate_hz}")
    assert [mark.epoch for mark in decoded.marks] == [0] * num_frames + [1] * num_frames


@pytest.mark.parametrize("kind", ["matroska", "mp4", "mpegts", "h264"])
@pytest.mark.parametrize("rule", ["fps:30", "fps:6", "fps:1", "all"])
@pytest.mark.quick_one_in(5)
def test_a_range_keeps_the_picks_of_the_whole_that_lie_in_it(kind: str, rule: str) -> None:
    rate_hz = 25 if kind == "h264" else 30  # FFmpeg reads a raw stream at 25
    data = video_bytes(kind=kind, rate_hz=Fraction(rate_hz))
    everything, whole = extract(data, "all").pts, extract(data, rule).pts
    start, end = Fraction("1.0666"), Fraction("2.1333")  # just before the frames at 32/30 s and 64/30 s
    inside = set(everything[math.ceil(start * rate_hz) : math.ceil(end * rate_hz)])
    for segment_s, max_samples in ((0.8, 512), (None, 7)):
        time_range = TimeRange(start=start, end=end)
        planned = plan(data, rule, segment_s=segment_s, max_samples=max_samples, time_range=time_range)
        assert decode(data, planned, rule, time_range=time_range).pts == [pts for pts in whole if pts in inside]


def test_a_range_that_begins_at_a_cut_keeps_the_frame_there_though_its_slot_began_before() -> None:
    """A slot that begins before a cut and is still empty there belongs to the segment before."""
    at_ms = lambda index: index * 40 if index < 24 else 5300 + (index - 24) * 40  # noqa: E731
    data = video_bytes(kind="matroska", pts_ms=at_ms, options={**X264, "bf": "0"})
    time_range = TimeRange(start=Fraction("5.3"), end=Fraction("5.35"))
    assert extract(data, "fps:1", segment_s=0.8).pts[1] == 5300
    planned = plan(data, "fps:1", segment_s=0.8, time_range=time_range)
    assert decode(data, planned, "fps:1", time_range=time_range).pts == [5300]


def test_a_range_is_found_by_times_that_only_decoding_tells() -> None:
    """Two recordings in one file are decoded in one pass and their frames counted; the first one has a gap."""
    at_ms = lambda index: index * 40 if index < 20 else 5000 + index * 40  # noqa: E731
    data = video_bytes(kind="mpegts", pts_ms=at_ms, num_frames=50) + video_bytes(kind="mpegts", num_frames=20)
    time_range = TimeRange(start=Fraction(6), end=Fraction("6.5"))
    whole = extract(data, "all", max_samples=7)
    inside = [mark.pts for mark in whole.marks if 6 <= mark.time_s < 6.5]
    assert len(inside) == 13
    planned = plan(data, "all", max_samples=7, time_range=time_range)
    assert decode(data, planned, "all", time_range=time_range).pts == inside
