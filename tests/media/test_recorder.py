"""A recording is the stream: every picture of it, at its very pts and at once, in files that can each be read alone."""

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av
import numpy as np
import pytest
from media import decode, extract, plan
from recordings import files_of, parts_of
from videos import OPEN_GOPS, X265, remuxed, video_bytes

from pipeline.media.live.messages import PartRecorded
from pipeline.media.live.recorder import Recorder

OPEN_H265 = {**X265, "x265-params": f"{X265['x265-params']}:open-gop=1"}


def pictures(data: bytes) -> dict[Fraction, bytes]:
    """What the batch road makes of a file: each picture by its time on the stream's clock."""
    planned = plan(data, "all")
    decoded = decode(data, planned, "all")
    assert not decoded.failures
    times = [pts * planned.facts.time_base for pts in decoded.pts]
    return dict(zip(times, (each.tobytes() for each in decoded.pictures), strict=True))


def of_files(files: Iterable[bytes]) -> dict[Fraction, bytes]:
    """The pictures of all files; one that is in two is the same in both."""
    found: dict[Fraction, bytes] = {}
    for file in files:
        more = pictures(file)
        assert all(found[time] == more[time] for time in found.keys() & more.keys())
        found |= more
    return found


@pytest.mark.parametrize("kind", ["mp4", "mpegts", "flv"])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        pytest.param("libx264", None, id="h264-with-b-frames"),
        pytest.param("libx264", OPEN_GOPS, id="h264-of-open-gops"),
        pytest.param("libx265", OPEN_H265, id="hevc-of-open-gops"),
    ],
)
def test_every_picture_keeps_its_pts_in_every_file(kind: str, codec: str, options: dict[str, str]) -> None:
    """Pictures that lead a keyframe lie in the file before it, and the keyframe in both."""
    stream = remuxed(video_bytes(codec, options, num_frames=80), kind=kind)

    files = files_of(parts_of(stream, longest_s=0.8))

    assert len(files) == 4
    assert of_files(files) == pictures(stream)


@pytest.mark.parametrize(
    ("codec", "kind", "pix_fmt"),
    [
        pytest.param("mjpeg", "matroska", "yuvj420p", id="motion-jpeg"),
        pytest.param("mpeg4", "avi", "yuv420p", id="mpeg4"),
        pytest.param("mpeg2video", "mpegts", "yuv420p", id="mpeg2"),
        pytest.param("libvpx-vp9", "webm", "yuv420p", id="vp9"),
        pytest.param("libsvtav1", "matroska", "yuv420p", id="av1"),
    ],
)
def test_what_cameras_send_fits_into_an_mp4(codec: str, kind: str, pix_fmt: str) -> None:
    stream = video_bytes(codec, {}, kind=kind, pix_fmt=pix_fmt, num_frames=30)

    assert of_files(files_of(parts_of(stream))) == pictures(stream)


def test_a_packet_is_handed_over_at_once() -> None:
    """So a row never lacks its recording, whoever is killed: a frame is shown after its packet is recorded."""
    data, handed_over = video_bytes(num_frames=20), []
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        recorder = Recorder(stream, time_base=lambda: cast(Fraction, stream.time_base), file_s=300)
        packets = [packet for packet in source.demux(stream) if packet.size]
        first = list(recorder.add(bytes(packets[0]), pts=packets[0].pts or 0, is_keyframe=True))
        begun = list(recorder.begin_session(0))
        for packet in packets[1:]:
            parts = list(recorder.add(bytes(packet), pts=packet.pts or 0, is_keyframe=packet.is_keyframe))
            handed_over.append(len(parts))

    assert first == []  # nobody knows when the session begins
    assert [part.is_first for part in begun] == [True]
    assert handed_over == [1] * 19


def test_times_of_parts_follow_each_other() -> None:
    parts = parts_of(video_bytes(num_frames=20))

    assert sorted(round(part.start_time_s * 25) for part in parts) == list(range(20))
    assert all(part.end_time_s - part.start_time_s == pytest.approx(0.04, abs=0.001) for part in parts)


@pytest.mark.parametrize(("longest_s", "num_files"), [(300, 1), (1.9, 2), (0.9, 4)])
def test_a_file_begins_with_a_keyframe_when_the_last_is_long_enough(longest_s: float, num_files: int) -> None:
    files = files_of(parts_of(video_bytes(num_frames=96), longest_s=longest_s))

    assert len(files) == num_files
    assert all(extract(file, "keyframes").pts[0] == extract(file, "all").pts[0] for file in files)


def test_a_file_that_is_large_enough_is_followed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket's writer holds one in memory."""
    monkeypatch.setattr("pipeline.media.live.recorder._LARGEST_BYTES", 1)

    assert len(files_of(parts_of(video_bytes(num_frames=96)))) == 4


def test_a_clock_that_has_run_for_years_is_kept() -> None:
    data, shift = video_bytes(num_frames=30), 90_000 * 86_400 * 400

    shifted = [pts - shift for pts in extract(files_of(parts_of(data, shift=shift))[0], "all").pts]

    assert shifted == extract(data, "all").pts


def test_the_frame_rate_is_the_streams() -> None:
    """B-frames are decoded in another order than they are shown in; files say how long they are shown."""
    data = video_bytes(num_frames=80)

    planned = plan(files_of(parts_of(data))[0], "all")

    assert float(planned.facts.frame_rate_hz) == pytest.approx(25, rel=0.02)
    assert planned.facts.duration_s == pytest.approx(3.2, abs=0.13)


def test_a_recording_that_is_cut_off_lacks_its_end_alone() -> None:
    """As a killed process leaves it: whole fragments, and no word of how many there should be."""
    parts = parts_of(video_bytes(num_frames=60))
    whole = extract(files_of(parts)[0], "all")

    cut = extract(files_of(parts[:40])[0], "all")

    assert cut.failures == []
    assert len(cut.pts) == 40
    assert cut.pts[:36] == whole.pts[:36]
    assert all(np.array_equal(cut.pictures[at], whole.pictures[at]) for at in range(36))


def test_a_session_that_begins_with_a_packet_that_came_has_it_in_its_first_file() -> None:
    """What its frame shows, such as another size, is known only once it is decoded."""
    data, files = video_bytes("mjpeg", {}, kind="matroska", pix_fmt="yuvj420p", num_frames=10), []
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        recorder = Recorder(stream, time_base=lambda: cast(Fraction, stream.time_base), file_s=300)
        parts: list[PartRecorded] = list(recorder.begin_session(0))
        packets = [packet for packet in source.demux(stream) if packet.size]
        for place, packet in enumerate(packets):
            parts += recorder.add(bytes(packet), pts=packet.pts or 0, is_keyframe=True)
            if place == 4:
                parts += recorder.cut(in_gop=True)
                parts += recorder.begin_session(packet.pts or 0)
        files = files_of(parts)

    expected = extract(data, "all").pts
    assert extract(files[0], "all").pts == expected[:5]
    assert extract(files[1], "all").pts == expected[4:]


def test_two_frames_of_one_time_are_told_apart_as_they_are_live() -> None:
    """A frame's pts names it: the second of two gets the tick behind it, in the rows and in the recording."""
    data = video_bytes(options={"preset": "ultrafast", "g": "24", "bf": "0"}, num_frames=40)
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        recorder = Recorder(stream, time_base=lambda: cast(Fraction, stream.time_base), file_s=300)
        parts: list[PartRecorded] = list(recorder.begin_session(0))
        stamps = [packet.pts or 0 for packet in source.demux(stream) if packet.size]
        source.seek(0)
        for place, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
            pts = stamps[place - 1] if place == 10 else stamps[place]
            parts += recorder.add(bytes(packet), pts=pts, is_keyframe=packet.is_keyframe)
            recorder.show(stamps[place])

    expected = [stamps[9] + 1 if place == 10 else pts for place, pts in enumerate(stamps)]
    assert extract(files_of(parts)[0], "all").pts == expected


def test_pts_that_fall_back_cost_the_rest_of_their_gop() -> None:
    """Such a packet has no time in a file; the next keyframe begins another one."""
    data = video_bytes(num_frames=72)
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        time_base = cast(Fraction, stream.time_base)
        recorder = Recorder(stream, time_base=lambda: time_base, file_s=300)
        parts: list[PartRecorded] = list(recorder.begin_session(0))
        for place, packet in enumerate(packet for packet in source.demux(stream) if packet.size):
            pts = 1 if place == 30 else packet.pts or 0
            parts += recorder.add(bytes(packet), pts=pts, is_keyframe=packet.is_keyframe)
            recorder.show(min(pts, packet.dts or 0))

    files = files_of(parts)
    assert [len(extract(file, "all").pts) for file in files] == [30, 24]
    assert extract(files[1], "all").pts == extract(data, "all").pts[48:]
