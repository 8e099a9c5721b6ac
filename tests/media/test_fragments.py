"""A recording is the stream: every picture of it, at its very pts, in files that can each be read alone."""

import io
import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from media import decode, extract, plan
from recordings import files_of, fragments_of
from videos import X265, remuxed, video_bytes

from pipeline.errors import UnsupportedCodec
from pipeline.media.fragments import FragmentWriter

OPEN_GOPS = {"preset": "ultrafast", "x264-params": "open-gop=1:keyint=24:min-keyint=24:bframes=3:scenecut=0"}
OPEN_H265 = {**X265, "x265-params": f"{X265['x265-params']}:open-gop=1"}
CLOSED_H265 = {**X265, "x265-params": f"{X265['x265-params']}:open-gop=0"}


def pictures(data: bytes) -> dict[Fraction, bytes]:
    """What the batch road makes of a file: each picture by its time on the stream's clock."""
    planned = plan(data, "all")
    decoded = decode(data, planned, "all")
    assert not decoded.failures
    return {
        pts * planned.facts.time_base: each.tobytes() for pts, each in zip(decoded.pts, decoded.pictures, strict=True)
    }


def of_files(files: list[bytes]) -> dict[Fraction, bytes]:
    found: dict[Fraction, bytes] = {}
    for file in files:
        more = pictures(file)
        assert found.keys().isdisjoint(more)
        found |= more
    return found


@pytest.mark.parametrize("kind", ["mp4", "mpegts", "flv", "matroska"])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        pytest.param("libx264", None, id="h264-with-b-frames"),
        pytest.param("libx265", CLOSED_H265, id="hevc-with-b-frames"),
    ],
)
def test_every_picture_keeps_its_pts_whatever_the_container(kind: str, codec: str, options: dict[str, str]) -> None:
    stream = remuxed(video_bytes(codec, options, num_frames=80), kind=kind)

    files = files_of(fragments_of(stream, longest_s=0.8))

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

    assert of_files(files_of(fragments_of(stream))) == pictures(stream)


def test_what_does_not_fit_is_said() -> None:
    stream = video_bytes("libvpx", {}, kind="webm", num_frames=3)
    with av.open(io.BytesIO(stream), "r") as source, pytest.raises(UnsupportedCodec, match="an MP4 cannot hold it"):
        FragmentWriter(source.streams.video[0], time_base=Fraction(1, 1000))


@pytest.mark.parametrize(
    ("codec", "options"),
    [pytest.param("libx264", OPEN_GOPS, id="h264"), pytest.param("libx265", OPEN_H265, id="hevc")],
)
def test_no_cut_where_pictures_reach_across_the_keyframe(codec: str, options: dict[str, str]) -> None:
    """A file that began there would lack the pictures that lead the keyframe, and the live rows have them."""
    stream = remuxed(video_bytes(codec, options, num_frames=120), kind="mpegts")

    files = files_of(fragments_of(stream, longest_s=1))

    assert len(files) == 1
    assert of_files(files) == pictures(stream)


def test_a_stream_that_can_be_cut_nowhere_is_cut_in_the_end() -> None:
    stream = remuxed(video_bytes("libx264", OPEN_GOPS, num_frames=240), kind="mpegts")

    assert len(files_of(fragments_of(stream, longest_s=0.5))) == 2


@pytest.mark.parametrize(
    ("limits", "num_files"),
    [
        pytest.param({"longest_s": 300}, 1, id="short"),
        pytest.param({"longest_s": 1.9}, 2, id="by-time"),
        pytest.param({"largest_bytes": 1}, 4, id="by-size"),
    ],
)
def test_a_file_begins_with_a_keyframe_when_the_last_is_long_enough(limits: dict[str, float], num_files: int) -> None:
    fragments = fragments_of(video_bytes(num_frames=96), **limits)  # type: ignore[arg-type]
    files = files_of(fragments)

    assert len(files) == num_files
    assert all(extract(file, "keyframes").pts[0] == extract(file, "all").pts[0] for file in files)
    edges = [fragment.start_pts for fragment in fragments if fragment.is_first]
    assert edges == [extract(file, "all").pts[0] for file in files]


def test_a_clock_that_has_run_for_years_is_kept() -> None:
    data, shift = video_bytes(num_frames=30), 90_000 * 86_400 * 400

    shifted = [pts - shift for pts in extract(files_of(fragments_of(data, shift=shift))[0], "all").pts]

    assert shifted == extract(data, "all").pts


def test_decoding_times_that_a_camera_leaves_out_are_made_up() -> None:
    stream = remuxed(video_bytes(num_frames=60), kind="mpegts")

    assert of_files(files_of(fragments_of(stream, has_dts=False))) == pictures(stream)


def test_a_recording_that_is_cut_off_lacks_its_end_alone() -> None:
    """As a killed process leaves it: whole fragments, and no word of how many there should be."""
    fragments = fragments_of(video_bytes(num_frames=60))
    whole = extract(files_of(fragments)[0], "all")

    cut = extract(files_of(fragments[:40])[0], "all")

    assert cut.failures == []
    assert len(cut.pts) == 40
    assert cut.pts[:36] == whole.pts[:36]
    assert all(np.array_equal(cut.pictures[at], whole.pictures[at]) for at in range(36))


def test_a_picture_is_recorded_once_the_next_packet_has_come() -> None:
    fragments = fragments_of(video_bytes(num_frames=20))

    assert len(fragments) == 20
    assert [fragment.is_first for fragment in fragments] == [True] + [False] * 19
    spans = sorted((fragment.start_pts, fragment.end_pts) for fragment in fragments)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(spans))
