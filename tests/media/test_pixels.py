"""A part of a picture, painted by itself, is the same as in the whole picture."""

import io

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from pipeline.media.decode.crop import Part
from pipeline.media.decode.pixels import Painter

CORNERS = [(0, 0, 0.5, 0.5), (0, 0.2, 1, 0.8), (0.31, 0, 0.77, 1), (0.4, 0.6, 1, 1), (0.45, 0.45, 0.47, 0.46)]
"""Top, left, bottom and right, as fractions."""


def frame_of_noise(size: tuple[int, int], pixel_format: str) -> VideoFrame:
    rng = np.random.default_rng(7)
    frame = VideoFrame(*size, pixel_format)
    for plane in frame.planes:
        memory = np.frombuffer(memoryview(plane), np.uint8)
        memory[:] = rng.integers(0, 256, memory.size, np.uint8)
    return frame


def painted(painter: Painter, frame: VideoFrame, part: Part | None = None) -> NDArray[np.uint8]:
    whole = np.empty(painter.shape_of(frame), np.uint8)
    room = whole if part is None else np.empty_like(whole[part])
    painter.paint(frame, into=room, part=part)
    return room


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv420p10le", "nv12", "gray"])
@pytest.mark.parametrize("size", [(1280, 720), (853, 480), (641, 361), (130, 66), (70, 21), (2, 2)])
@pytest.mark.parametrize(("color_space", "color_range"), [(2, 0), (1, 1), (5, 2), (9, 1)])
@pytest.mark.quick_one_in(5)
def test_a_part_painted_by_itself_is_as_in_the_whole(
    size: tuple[int, int], pixel_format: str, color_space: int, color_range: int
) -> None:
    frame = frame_of_noise(size, pixel_format)
    frame.colorspace, frame.color_range = color_space, color_range
    whole = painted(Painter(), frame)
    painter = Painter()
    for top, left, bottom, right in CORNERS:
        rows = slice(int(top * size[1]), max(int(top * size[1]) + 1, int(bottom * size[1])))
        columns = slice(int(left * size[0]), max(int(left * size[0]) + 1, int(right * size[0])))
        for _ in range(2):
            assert np.array_equal(painted(painter, frame, (rows, columns)), whole[rows, columns])


def test_frames_whose_size_changes_half_way_are_cut_as_they_come() -> None:
    painter, part = Painter(), (slice(10, 50), slice(66, 130))
    for size in [(640, 360), (320, 180), (640, 360)]:
        frame = frame_of_noise(size, "yuv420p")
        assert np.array_equal(painted(painter, frame, part), painted(Painter(), frame)[part])


def test_the_frame_that_a_part_was_painted_of_stays_as_it_was() -> None:
    frame, painter = frame_of_noise((640, 360), "yuv420p"), Painter()
    before = painted(painter, frame)
    painted(painter, frame, (slice(10, 50), slice(66, 130)))
    assert (frame.width, frame.height) == (640, 360)
    assert np.array_equal(painted(painter, frame), before)


def test_a_part_of_an_interlaced_frame_is_as_in_the_whole() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        stream.options = {"x264-params": "interlaced=1:tff=1", "qp": "10"}
        for packet in [*stream.encode(frame_of_noise((720, 576), "yuv420p")), *stream.encode(None)]:
            container.mux(packet)
    file.seek(0)
    with av.open(file, "r") as video:
        [frame] = video.decode(video=0)
    assert frame.interlaced_frame
    whole = painted(Painter(), frame)
    for rows in (slice(2, 576), slice(4, 574), slice(6, 102), slice(3, 571)):
        part = rows, slice(100, 300)
        assert np.array_equal(painted(Painter(), frame, part), whole[part])
