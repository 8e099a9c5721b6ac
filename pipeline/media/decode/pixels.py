"""From a decoded frame to an upright, full-resolution RGB picture (runs in the decoder process)."""

import struct
from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipeline.media.decode.crop import Cropper, Part

Orientation = tuple[bool, bool, bool]
"""Swap rows and columns, then flip left-right, then flip upside down."""

AS_STORED: Orientation = (False, False, False)
_QUARTER_TURNS = (AS_STORED, (True, False, True), (False, True, True), (True, True, False))


def orientation_of(frame: VideoFrame) -> Orientation:
    """What the display matrix asks for, to the nearest quarter turn, mirrored pictures included."""
    try:
        side_data = cast(Mapping[str, Any], frame.side_data)
    except ValueError:
        # PyAV 18.1 does not know every kind of FFmpeg 8's, such as EXIF: then a mere flip goes unseen.
        return _QUARTER_TURNS[round(frame.rotation / 90) % 4]
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return AS_STORED
    # x' = a x + c y, y' = b x + d y, in 16.16 fixed point (libavutil/display.h)
    a, b, _, c, d = struct.unpack("=9i", bytes(matrix))[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def upright(pixels: NDArray[np.uint8], orientation: Orientation) -> NDArray[np.uint8]:
    """A view of ``uint8[h, w, 3]`` as people are meant to see it."""
    is_turned, is_mirrored, is_upside_down = orientation
    turned = pixels.transpose(1, 0, 2) if is_turned else pixels
    return turned[:: -1 if is_upside_down else 1, :: -1 if is_mirrored else 1]


class Painter:
    """Converts one video's frames with one scaler: a new one each time costs as much as the picture."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._cropper: Cropper | None = None
        # Looking at a frame's side data ties it into a reference cycle, which holds its memory until the collector
        # comes; and a video's frames that are turned alike are mirrored alike.
        self._orientations: dict[int, Orientation] = {}

    def paint_scaled(self, frame: VideoFrame, *, into: NDArray[np.uint8]) -> None:
        """Write the whole upright picture to ``uint8[h, w, 3]``, of whatever shape, as FFmpeg's command scales it."""
        orientation = self.orientation(frame)
        height_px, width_px = into.shape[:2]
        if orientation[0]:
            height_px, width_px = width_px, height_px
        rgb = self._reformatter.reformat(
            frame, width=width_px, height=height_px, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
        )
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        picture = rows[:height_px, : 3 * width_px].reshape(height_px, width_px, 3)
        np.copyto(into, upright(picture, orientation))

    def shape_of(self, frame: VideoFrame) -> tuple[int, int, int]:
        """(height, width, 3) of the upright picture."""
        is_turned = self.orientation(frame)[0]
        return (frame.width, frame.height, 3) if is_turned else (frame.height, frame.width, 3)

    def paint(self, frame: VideoFrame, *, into: NDArray[np.uint8], part: Part | None = None) -> None:
        """Write the upright picture, of shape ``shape_of(frame)``, or a part of it, to ``into``, ``uint8``."""
        orientation = self.orientation(frame)
        if part is not None and orientation == AS_STORED:
            if self._cropper is None or not self._cropper.fits(frame, part):
                self._cropper = Cropper(frame, part)
            frame, part = self._cropper.crop(frame)
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        plane = rgb.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows = rows[: frame.height, : 3 * frame.width]
        picture = upright(rows.reshape(frame.height, frame.width, 3), orientation)
        np.copyto(into, picture if part is None else picture[part])

    def orientation(self, frame: VideoFrame) -> Orientation:
        """How the video's frames are turned upright."""
        rotation = frame.rotation
        if rotation not in self._orientations:
            self._orientations[rotation] = orientation_of(frame)
        return self._orientations[rotation]


RawLayout = Literal["rgb24", "bgr24", "rgba", "bgra", "yuv420p"]
"""Uncompressed pictures that cameras send, by FFmpeg's names; rows follow each other without gaps."""


def raw_bytes(layout: RawLayout, *, width: int, height: int) -> int:
    """How long one uncompressed picture is."""
    if layout == "yuv420p":
        return width * height + 2 * (-(-width // 2) * -(-height // 2))
    return width * height * len(layout.removesuffix("24"))


def picture_from_raw(data: bytes, layout: RawLayout, *, width: int, height: int) -> NDArray[np.uint8]:
    """RGB ``uint8[height, width, 3]`` of ``raw_bytes`` bytes, converted as a decoder's frames are."""
    frame = VideoFrame(width, height, layout)
    offset = 0
    for plane in frame.planes:
        # A plane's width counts its samples, and its lines are padded.
        row_bytes = plane.width if layout == "yuv420p" else width * len(layout.removesuffix("24"))
        rows = np.frombuffer(data, np.uint8, plane.height * row_bytes, offset).reshape(plane.height, row_bytes)
        into = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        into[: plane.height, :row_bytes] = rows
        offset += rows.size
    painter = Painter()
    pixels = np.empty(painter.shape_of(frame), np.uint8)
    painter.paint(frame, into=pixels)
    return pixels
