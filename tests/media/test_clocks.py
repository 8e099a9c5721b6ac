"""Clocks that repeat, fall back, tick too fast or start late: every sample is there, at its own time."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from media import decode, extract, plan
from odd_videos import flv_retimed, fragmented, matroska_retimed, retimed, ticking_avi, transport_retimed
from videos import MATROSKA_TO_EDIT, X264, sequential, video_bytes

NO_B = {**X264, "bf": "0"}
PTS_OF_30_THEN_2_HZ = [*range(0, 1200, 40), *range(1200, 16200, 500)]
"""In milliseconds, of 60 frames."""
ONE_A_SECOND = [0, 1, 2.2, *(at + 0.2 for at in range(3, 16))]
"""What ``fps:1`` picks of them."""


def seconds(data: bytes, rule: str = "fps:1", *, segment_s: float | None = None) -> list[float]:
    return [round(mark.time_s, 2) for mark in extract(data, rule, segment_s=segment_s).marks]


def beginning(head: list[int]) -> Callable[[int], int]:
    """The clock above, with other times at its head."""
    return lambda index: head[index] if index < len(head) else PTS_OF_30_THEN_2_HZ[index]


@pytest.mark.parametrize("kind", ["matroska", "flv", "mp4", "nut"])
@pytest.mark.parametrize("head", [[0, 0], [0, 0, 0, 0, 0]], ids=["twice", "five-times"])
def test_time_that_repeats_at_the_head_loses_nothing(kind: str, head: list[int]) -> None:
    source = video_bytes(kind="matroska", num_frames=60, options=NO_B)
    data = retimed(source, kind=kind, pts_ms=beginning(head))
    assert seconds(data) == seconds(data, segment_s=1) == ONE_A_SECOND
    decoded = extract(data, "all", segment_s=1)
    assert len({(mark.epoch, mark.pts) for mark in decoded.marks}) == 60
    assert plan(data).facts.duration_s == pytest.approx(15.7, abs=0.3)
    assert decoded.failures == []


def fallen(kind: str, head: list[int]) -> bytes:
    """60 frames without B-frames; muxers refuse times that fall, so they are written over."""
    clock = beginning(head)
    if kind == "matroska":
        times = PTS_OF_30_THEN_2_HZ.__getitem__
        data = video_bytes(kind=kind, num_frames=60, options=NO_B, pts_ms=times, muxer=MATROSKA_TO_EDIT)
        return matroska_retimed(data, pts_ms=clock, num_pictures=len(head))
    data = video_bytes(kind=kind, num_frames=60, options=NO_B)
    return flv_retimed(data, pts_ms=clock) if kind == "flv" else transport_retimed(data, pts_ms=clock)


def test_uniform_spreads_over_the_time_of_a_clock_that_repeats() -> None:
    source = video_bytes(kind="matroska", num_frames=60, options=NO_B)
    data = retimed(source, kind="matroska", pts_ms=beginning([0, 0]))
    assert seconds(data, "uniform:5") == [1.7, 5.2, 8.2, 11.2, 14.2]


@pytest.mark.parametrize(
    ("head", "frame_end_s"),
    [
        pytest.param([100, 0], 0.04, id="by-100-ms-at-once"),
        pytest.param([0, 40, 33], 0.08, id="by-7-ms"),
    ],
)
@pytest.mark.parametrize("kind", ["flv", "matroska", "mpegts"])
def test_time_that_falls_back_a_little_at_the_head_loses_nothing(
    kind: str, head: list[int], frame_end_s: float
) -> None:
    data = fallen(kind, head)
    decoded = extract(data, "all")
    assert [mark.epoch for mark in decoded.marks] == [0] * (len(head) - 1) + [1] * (61 - len(head))
    fallen_at_s = frame_end_s - head[-1] / 1000
    later = [(at - head[-1]) / 1000 + frame_end_s for at in PTS_OF_30_THEN_2_HZ[len(head) :]]
    assert [mark.time_s for mark in decoded.marks[len(head) :]] == pytest.approx(later)
    assert len(seconds(data)) == len(ONE_A_SECOND)
    assert plan(data).facts.duration_s == pytest.approx(15.7 + fallen_at_s, abs=0.15)


def test_frames_without_pts_among_others_are_shown_one_after_the_other() -> None:
    data = bytearray(video_bytes(kind="mpegts", num_frames=60, options=NO_B))
    starts = [at for at in range(0, len(data), 188) if data[at + 1] & 0x40 and b"\0\0\1\xe0" in data[at : at + 188]]
    for picture in (0, 1, 30):
        header = data.index(b"\0\0\1\xe0", starts[picture])
        data[header + 7] &= 0x3F  # no timestamps follow
        length = data[header + 8]
        data[header + 9 : header + 9 + length] = b"\xff" * length
    assert [pts for pts, _, _ in sequential(bytes(data))][:3] == [None, None, 7200]
    marks = extract(bytes(data), "all").marks
    assert [round(mark.time_s, 3) for mark in marks] == [round(index / 25, 3) for index in range(60)]


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        pytest.param("libx264", X264, id="h264-with-b-frames"),
        pytest.param("libx264", NO_B, id="h264-without"),
        pytest.param("mpeg4", {"g": "24", "bf": "2"}, id="mpeg4-with-b-frames"),
        pytest.param("mpeg4", {"g": "24"}, id="mpeg4-without"),
        pytest.param("mjpeg", {}, id="mjpeg"),
    ],
)
@pytest.mark.parametrize(("ticks_hz", "ticks_per_frame"), [(600, 24), (50, 2), (25, 1)])
@pytest.mark.quick_one_in(4)
def test_avi_goes_at_the_rate_of_its_frames(
    codec: str, options: dict[str, str], ticks_hz: int, ticks_per_frame: int
) -> None:
    data = ticking_avi(codec, options, ticks_hz=ticks_hz, ticks_per_frame=ticks_per_frame)
    facts = plan(data).facts
    assert (facts.frame_rate_hz, facts.duration_s) == (Fraction(25), 6.0)
    for segment_s in (1e6, 0.8):
        decoded = extract(data, "fps:1", segment_s=segment_s)
        assert [mark.time_s for mark in decoded.marks] == [0, 1, 2, 3, 4, 5]
        assert decoded.failures == []


@pytest.mark.parametrize("bframes", ["0", "3"])
def test_length_that_an_avi_cannot_have_is_no_proof_of_truncation(bframes: str) -> None:
    options = {**X264, "bf": bframes}
    assert extract(video_bytes(kind="avi", options=options, num_frames=30, seekable=False)).failures == []
    data = bytearray(video_bytes(kind="avi", options=options, num_frames=30))
    length_at = data.index(b"strh") + 40
    for num_frames in (1 << 30, (1 << 32) - 1, 10**7):
        data[length_at : length_at + 4] = num_frames.to_bytes(4, "little")
        assert extract(bytes(data)).failures == []


@pytest.mark.parametrize("ticks_hz", [25, 600])
def test_avi_that_is_cut_is_truncated(ticks_hz: int) -> None:
    data = ticking_avi("libx264", X264, ticks_hz=ticks_hz, ticks_per_frame=ticks_hz // 25)
    [failure] = extract(data[: len(data) // 2]).failures
    assert failure.reason == "truncated"
    assert failure.missing_end_s == pytest.approx(6.0, abs=0.1)


FRAGMENTS = ["frag_keyframe+empty_moov+delay_moov", "frag_keyframe+empty_moov+frag_discont", "dash", "cmaf"]


@pytest.mark.parametrize("start_s", [0, 36_000])
@pytest.mark.parametrize("movflags", [*FRAGMENTS, "frag_keyframe+dash+global_sidx", "hybrid_fragmented"])
@pytest.mark.parametrize("bframes", ["0", "3"])
@pytest.mark.quick_one_in(5)
def test_fragments_that_start_late_last_as_long_as_their_frames(
    start_s: int, movflags: str, bframes: str, tmp_path: Path
) -> None:
    source = video_bytes(num_frames=150, options={**X264, "bf": bframes})
    data = fragmented(source, tmp_path, start_s=start_s, movflags=movflags)
    planned = plan(data, segment_s=1)
    assert planned.facts.duration_s == 6.0
    assert planned.segments[-1].end_s == 6.0
    decoded = decode(data, planned)
    assert [mark.time_s for mark in decoded.marks] == [0, 1, 2, 3, 4, 5]
    assert decoded.failures == []


@pytest.mark.parametrize("start_s", [0, 36_000])
@pytest.mark.parametrize(("movflags", "end_s"), [("cmaf", None), ("frag_keyframe+dash+global_sidx", 6.0)])
def test_fragments_that_are_cut_are_truncated(start_s: int, movflags: str, end_s: float | None, tmp_path: Path) -> None:
    data = fragmented(video_bytes(num_frames=150), tmp_path, start_s=start_s, movflags=movflags)
    [failure] = extract(data[: len(data) * 3 // 5]).failures
    assert failure.reason == "truncated"
    assert end_s is None or failure.missing_end_s == end_s
    assert (failure.missing_end_s or 0) <= 6.0


@pytest.mark.parametrize("kind", ["matroska", "mpegts", "flv", "mp4"])
def test_other_containers_that_start_late_last_as_long_as_their_frames(kind: str) -> None:
    data = video_bytes(kind=kind, num_frames=100, options=NO_B, pts_ms=lambda index: 3_600_000 + index * 40)
    planned = plan(data, segment_s=1)
    assert planned.facts.duration_s == pytest.approx(4.0, abs=0.05)
    assert decode(data, planned).failures == []
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        assert kind == "flv" or (stream.start_time or 0) * (stream.time_base or Fraction(0)) > 3000
