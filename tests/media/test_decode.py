"""What is picked of a sound video: the frames and pixels of a plain sequential decode, however it is cut."""

import io
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import av
import numpy as np
import pytest
from media import decode, extract, plan
from videos import X264, X265, remuxed, sequential, video_bytes

from pipeline.media.sampling.footage import uniform_targets
from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.rules import EveryRule, KeyframesRule, UniformRule, parse_rule

RULES = ["fps:1", "fps:25", "fps:3", "fps:0.2", "every:7", "all", "keyframes", "uniform:9"]
OPEN_GOP = {**X264, "x264-params": "open-gop=1:keyint=24:min-keyint=24:scenecut=0"}
ALTREF = {"deadline": "good", "cpu-used": "5", "g": "24", "b": "200k", "auto-alt-ref": "1", "lag-in-frames": "16"}
MPEG2 = {"g": "12", "bf": "2", "b": "400k"}
MANY_B = {"preset": "ultrafast", "bf": "16", "b-pyramid": "normal", "refs": "16", "g": "60", "b_strategy": "0"}


def uneven(index: int) -> int:
    """30/s, then 10/s, then a gap of 3.6 s and 60/s."""
    if index < 40:
        return index * 33
    return 3000 + (index - 40) * 100 if index < 70 else 9500 + (index - 70) * 17


# Formats that can be cut; the second entry is in how many segments of about a second, at least.
CUTTABLE: dict[str, tuple[Callable[[], bytes], int]] = {
    "h264-mp4": (video_bytes, 4),
    "h264-mkv": (lambda: video_bytes(kind="matroska"), 4),
    "h264-ts": (lambda: video_bytes(kind="mpegts"), 4),
    "h264-flv": (lambda: video_bytes(kind="flv"), 4),
    "h264-open-gop-mp4": (lambda: video_bytes(options=OPEN_GOP), 4),
    "h264-open-gop-ts": (lambda: video_bytes(options=OPEN_GOP, kind="mpegts"), 4),
    "h264-16-b-frames": (lambda: video_bytes(options=MANY_B, num_frames=150), 3),
    "h264-fragmented": (lambda: video_bytes(muxer={"movflags": "frag_keyframe+empty_moov"}), 4),
    "h264-uneven-mp4": (lambda: video_bytes(pts_ms=uneven), 3),
    "h264-uneven-mkv": (lambda: video_bytes(pts_ms=uneven, kind="matroska"), 3),
    "h264-edit-list": (lambda: remuxed(video_bytes(num_frames=120), kind="mp4", shift=-20 * 512), 3),
    "h264-late-start": (lambda: remuxed(video_bytes(num_frames=120), kind="matroska", shift=5000), 3),
    "h264-interlaced-ts": (lambda: video_bytes(options={**X264, "flags": "+ilme+ildct"}, kind="mpegts"), 4),
    "h264-odd-size-444": (lambda: video_bytes(size=(101, 67), pix_fmt="yuv444p"), 4),
    "h264-joined-late-ts": (lambda: video_bytes(kind="mpegts")[188 * 20 :], 3),
    "h264-pts-wraps-at-33-bits": (
        lambda: remuxed(video_bytes(kind="mpegts"), kind="mpegts", shift=(1 << 33) - 270000,
                        muxer={"avoid_negative_ts": "disabled"}),
        4,
    ),
    "mkv-without-cues": (lambda: video_bytes(kind="matroska", seekable=False), 4),
    "hevc-open-gop-mp4": (
        lambda: video_bytes("libx265", {**X265, "x265-params": X265["x265-params"] + ":open-gop=1"}), 4),
    "hevc-444-10-bit": (lambda: video_bytes("libx265", X265, pix_fmt="yuv444p10le"), 4),
    "hevc-hdr": (
        lambda: video_bytes(
            "libx265",
            {**X265, "x265-params": X265["x265-params"] + ":colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"},
            kind="matroska", pix_fmt="yuv420p10le",
        ),
        4,
    ),
    "vp8-altref": (lambda: video_bytes("libvpx", ALTREF, kind="webm"), 4),
    "vp9-altref": (lambda: video_bytes("libvpx-vp9", ALTREF, kind="webm"), 4),
    "av1": (lambda: video_bytes("libsvtav1", {"preset": "12", "g": "24"}, kind="mp4"), 4),
    "mpeg2-ts": (lambda: video_bytes("mpeg2video", MPEG2, kind="mpegts"), 4),
    "mpeg2-ps": (lambda: video_bytes("mpeg2video", MPEG2, kind="mpeg"), 2),
    "mpeg4-asp-avi": (lambda: video_bytes("mpeg4", {"g": "24", "bf": "2"}, kind="avi"), 4),
    "mjpeg-avi": (lambda: video_bytes("mjpeg", {}, kind="avi", pix_fmt="yuvj420p"), 4),
    "prores": (lambda: video_bytes("prores_ks", {}, kind="mov", pix_fmt="yuv422p10le", num_frames=50), 2),
    "one-pixel": (lambda: video_bytes("ffv1", {"g": "24"}, kind="matroska", size=(1, 1)), 4),
}  # fmt: skip
# Formats with nothing to cut by: decoded in one pass.
WHOLE: dict[str, Callable[[], bytes]] = {
    "gif": lambda: video_bytes("gif", {}, kind="gif", pix_fmt="rgb8", num_frames=40),
    "wmv": lambda: video_bytes("wmv2", {"g": "24"}, kind="asf"),
    "raw-h264": lambda: video_bytes(kind="h264"),
    "h264-avi": lambda: video_bytes(kind="avi"),
    "long-gop": lambda: video_bytes(options={**X264, "g": "1000"}, num_frames=120),
    "intra-refresh": lambda: video_bytes(options={**X264, "intra-refresh": "1", "b-pyramid": "none"}),
    "single-frame": lambda: video_bytes(num_frames=1),
    "two-frames": lambda: video_bytes(num_frames=2, kind="mpegts"),
}


@cache
def content(name: str) -> bytes:
    return CUTTABLE[name][0]() if name in CUTTABLE else WHOLE[name]()


@cache
def reference(name: str) -> list[tuple[int | None, bool, np.ndarray]]:
    return list(sequential(content(name)))


def expected(name: str, rule: str, *, time_base: Fraction, is_counted: bool) -> list[int]:
    """Which frames of the reference the rule names, said another way than the product does."""
    frames = reference(name)
    pts = [ordinal if is_counted else int(frame[0] or 0) for ordinal, frame in enumerate(frames)]
    parsed = parse_rule(rule)
    if isinstance(parsed, KeyframesRule):
        return [place for place, frame in enumerate(frames) if frame[1]]
    if isinstance(parsed, UniformRule):
        return [pts.index(at) for at in uniform_targets(sorted(pts), count=parsed.count)]
    if isinstance(parsed, FpsRule):
        counted = [(at - pts[0]) * time_base + min(time_base / 2, Fraction(1, 2000)) for at in pts]
        slots = [int(time * parsed.rate_hz) for time in counted]
        return [place for place, slot in enumerate(slots) if slot not in slots[:place]]
    return list(range(0, len(frames), parsed.stride if isinstance(parsed, EveryRule) else 1))


def check(name: str, rule: str, *, segment_s: float, max_samples: int) -> None:
    planned = plan(content(name), rule, segment_s=segment_s, max_samples=max_samples)
    decoded = decode(content(name), planned, rule)
    wanted = expected(name, rule, time_base=planned.facts.time_base, is_counted=planned.facts.origin_pts is None)
    assert len(decoded.pictures) == len(wanted)
    assert all(
        np.array_equal(picture, reference(name)[place][2])
        for picture, place in zip(decoded.pictures, wanted, strict=True)
    )
    if planned.facts.origin_pts is not None:
        assert decoded.pts == [reference(name)[place][0] for place in wanted]
    assert decoded.failures == []


@pytest.mark.parametrize("name", [*CUTTABLE, *WHOLE])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.quick_one_in(5)
def test_picks_do_not_depend_on_the_cut_and_sparse_pixels_equal_sequential(name: str, rule: str) -> None:
    check(name, rule, segment_s=0.8, max_samples=512)
    check(name, rule, segment_s=1e6, max_samples=7)


@pytest.mark.parametrize("name", CUTTABLE)
def test_what_can_be_cut_is_cut_and_decoded_once(name: str) -> None:
    planned = plan(content(name), "fps:3", segment_s=0.8)
    assert len(planned.segments) >= CUTTABLE[name][1]
    assert decode(content(name), planned, "fps:3").num_restarts == 0


@pytest.mark.parametrize("name", ["h264-open-gop-ts", "vp9-altref", "h264-edit-list", "long-gop", "raw-h264"])
def test_each_segment_alone_gives_what_it_gives_among_others(name: str) -> None:
    planned = plan(content(name), "every:5", segment_s=0.8, max_samples=6)
    whole = decode(content(name), planned, "every:5")
    alone = [decode(content(name), planned, "every:5", segments=[segment]) for segment in reversed(planned.segments)]
    assert [pts for part in reversed(alone) for pts in part.pts] == whole.pts


def test_estimates_of_samples_are_close() -> None:
    for name in ("h264-uneven-mp4", "h264-uneven-mkv", "h264-ts", "mjpeg-avi"):
        for rule in RULES:
            planned = plan(content(name), rule, segment_s=0.8)
            actual = len(decode(content(name), planned, rule).pts)
            assert abs(sum(segment.num_samples for segment in planned.segments) - actual) <= 2


def test_no_segment_holds_more_samples_than_it_may() -> None:
    planned = plan(content("long-gop"), "all", max_samples=7)
    assert len(planned.segments) > 10
    for segment in planned.segments:
        assert len(decode(content("long-gop"), planned, "all", segments=[segment]).pts) <= 7


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pictures_come_upright(rotation: int) -> None:
    data = video_bytes(num_frames=3, rotation=rotation)
    stored = [pixels for _, _, pixels in sequential(data)]
    decoded = extract(data, "all")
    assert plan(data).facts.rotation == rotation
    assert np.array_equal(decoded.pictures, [np.rot90(picture, rotation // 90) for picture in stored])


def test_frames_with_exif_are_turned_though_pyav_does_not_know_that_side_data() -> None:
    pillow = pytest.importorskip("PIL.Image")
    exif = pillow.Exif()
    exif[0x0112], exif[0x010E] = 6, "a camera"
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as out:
        stream = out.add_stream("mjpeg", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for index in range(3):
            picture = io.BytesIO()
            pillow.new("RGB", (64, 48), (index * 80, 9, 200)).save(picture, "JPEG", exif=exif)
            packet = av.Packet(picture.getvalue())
            packet.pts = packet.dts = index
            packet.stream, packet.is_keyframe = stream, True
            out.mux(packet)
    assert [picture.shape for picture in extract(file.getvalue(), "all").pictures] == [(64, 48, 3)] * 3


def test_clock_that_jumps_back_begins_an_epoch_and_time_goes_on() -> None:
    first, second = (video_bytes(kind="mpegts", num_frames=50, first_picture=at) for at in (0, 300))
    decoded = extract(first + second, "all", segment_s=0.8)
    assert [mark.epoch for mark in decoded.marks] == [0] * 50 + [1] * 50
    assert [round(mark.time_s, 3) for mark in decoded.marks] == [round(n / 25, 3) for n in range(100)]


def test_leap_forward_begins_an_epoch_in_mpeg_ts_and_is_a_gap_elsewhere() -> None:
    leap = lambda index: index * 40 if index < 50 else 60_000 + index * 40  # noqa: E731
    transport = extract(video_bytes(kind="mpegts", pts_ms=leap), "all")
    matroska = extract(video_bytes(kind="matroska", pts_ms=leap), "all")
    assert {mark.epoch for mark in transport.marks} == {0, 1}
    assert transport.marks[-1].time_s < 5
    assert {mark.epoch for mark in matroska.marks} == {0}
    assert matroska.marks[-1].time_s > 60


@pytest.mark.parametrize("rule", RULES)
def test_no_two_rows_have_one_key(rule: str) -> None:
    part = video_bytes(kind="mpegts", num_frames=50)
    for data in (part * 3, content("raw-h264"), content("h264-avi")):
        marks = extract(data, rule, segment_s=0.8).marks
        assert len({(mark.epoch, mark.pts) for mark in marks}) == len(marks)


def test_size_may_change_in_mid_stream() -> None:
    small = video_bytes(kind="mpegts", num_frames=50)
    large = remuxed(video_bytes(kind="mpegts", num_frames=50, size=(160, 96)), kind="mpegts", shift=180_000)
    shapes = [picture.shape for picture in extract(small + large, "all").pictures]
    assert shapes == [(64, 96, 3)] * 50 + [(96, 160, 3)] * 50


def test_stretch_that_becomes_too_large_fails_alone() -> None:
    small = video_bytes(kind="mpegts", num_frames=50)
    large = remuxed(video_bytes(kind="mpegts", num_frames=50, size=(320, 240)), kind="mpegts", shift=180_000)
    planned = plan(small + large, "fps:5", segment_s=0.8, max_pixels=10_000)
    decoded = decode(small + large, planned, "fps:5", max_pixels=10_000)
    assert len(decoded.pts) == 10
    assert {failure.reason for failure in decoded.failures} == {"too_large"}


def test_decoding_finds_the_keyframe_from_the_start_where_seeking_misses_it() -> None:
    from dataclasses import replace

    planned = plan(content("h264-mp4"), "fps:5", segment_s=0.8)
    lost = [replace(s, seek_to=None if s.seek_to is None else s.seek_to + 10**6) for s in planned.segments]
    assert decode(content("h264-mp4"), planned, "fps:5", segments=lost).pts == [
        mark.pts for mark in extract(content("h264-mp4"), "fps:5", segment_s=0.8).marks
    ]
