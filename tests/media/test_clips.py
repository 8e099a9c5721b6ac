"""The clips that the other tests are made of are what they claim to be."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from conftest import ClipFactory


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(container.streams.video[0]))


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"codec": "libx264", "container": "mp4"}, id="h264-mp4"),
        pytest.param({"codec": "libx264", "container": "mkv", "bframes": 0}, id="h264-mkv"),
        pytest.param({"codec": "libx264", "container": "ts"}, id="h264-ts"),
        pytest.param({"codec": "libx265", "container": "mp4"}, id="hevc-mp4"),
        pytest.param({"codec": "libvpx-vp9", "container": "webm", "bframes": 0}, id="vp9-webm"),
        pytest.param({"codec": "libsvtav1", "container": "mkv", "bframes": 0}, id="av1-mkv"),
        pytest.param({"codec": "mpeg4", "container": "avi", "bframes": 0}, id="mpeg4-avi"),
        pytest.param({"codec": "mpeg2video", "container": "mpg"}, id="mpeg2-mpg"),
        pytest.param({"codec": "gif", "container": "gif", "pix_fmt": "rgb8", "bframes": 0}, id="gif"),
    ],
)
def test_every_frame_of_a_clip_decodes(clips: ClipFactory, parameters: dict[str, Any]) -> None:
    frames = frames_of(clips(num_frames=30, **parameters))

    assert len(frames) == 30
    assert {(frame.width, frame.height) for frame in frames} == {(160, 96)}


def test_keyframes_and_b_frames_are_where_they_were_asked_for(clips: ClipFactory) -> None:
    frames = frames_of(clips(num_frames=48, gop=12, bframes=2, options={"sc_threshold": "0"}))

    assert [index for index, frame in enumerate(frames) if frame.key_frame] == [0, 12, 24, 36]
    assert any(frame.pict_type == av.video.frame.PictureType.B for frame in frames)


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_times_follow_the_given_clock(clips: ClipFactory, container: str) -> None:
    def uneven(index: int) -> int:
        return index * 40 if index < 10 else 3000 + index * 100

    frames = frames_of(clips(container=container, num_frames=20, pts=uneven))

    times = [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base]
    assert times == [Fraction(uneven(index), 1000) for index in range(20)]


def test_rotation_reaches_the_frames(clips: ClipFactory) -> None:
    assert {frame.rotation for frame in frames_of(clips(rotation=90))} == {90}


def test_one_recipe_is_one_file_and_another_recipe_is_another(clips: ClipFactory) -> None:
    assert clips(pts=lambda index: index * 50) == clips(pts=lambda index: 50 * index)
    assert clips(seed=1) != clips(seed=2)
