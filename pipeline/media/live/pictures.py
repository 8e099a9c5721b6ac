"""From a decoded frame to what is handed over: its luma, and its picture in memory that the parent reads."""

import mmap
import select
import socket

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from pipeline.media.decode.pixels import Painter, upright
from pipeline.media.live.messages import NUM_PICTURES
from pipeline.media.process.wire import Channel

LUMA_WIDTH_PX = 160
"""Of the whole picture's brightness, in which motion is looked for."""

# A parent that is busy for longer lags behind; a camera that is not read from for so long loses nothing.
_WAIT_S = 0.25


class LumaScaler:
    """Scales the brightness of one stream's frames down."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def scaled(self, frame: VideoFrame, painter: Painter) -> NDArray[np.uint8]:
        """Brightness ``uint8[h, w]`` of the upright picture, the longer side about ``LUMA_WIDTH_PX``."""
        shrinking = max(1.0, frame.width / LUMA_WIDTH_PX)
        width, height = round(frame.width / shrinking), max(1, round(frame.height / shrinking))
        grey = self._reformatter.reformat(
            frame, width=width, height=height, format="gray", interpolation=Interpolation.AREA, threads=1
        )
        plane = grey.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]
        return np.ascontiguousarray(upright(rows.reshape(height, width, 1), painter.orientation(frame))[:, :, 0])


class PicturePlaces:
    """Places for pictures in shared memory; the parent acknowledges each when it has copied it."""

    def __init__(self, control: Channel, control_socket: socket.socket, shared: mmap.mmap) -> None:
        self._control = control
        self._shared = shared
        self._place_bytes = len(shared) // NUM_PICTURES
        self._free = list(range(NUM_PICTURES))
        self._readable = select.poll()
        self._readable.register(control_socket, select.POLLIN)

    def painted(self, frame: VideoFrame, painter: Painter) -> tuple[int, tuple[int, int]] | None:
        """Paint a frame's upright RGB picture, unless the parent has not come round to the ones before.

        Returns:
            Its place, and its height and width.
        """
        height, width, depth = painter.shape_of(frame)
        place = self._claim()
        if place is None or height * width * depth > self._place_bytes:
            return None
        room = np.frombuffer(self._shared, np.uint8, height * width * depth, place * self._place_bytes)
        painter.paint(frame, into=room.reshape(height, width, depth))
        return place, (height, width)

    def _claim(self) -> int | None:
        while self._readable.poll(0 if self._free else round(_WAIT_S * 1000)):
            acknowledged = self._control.receive(timeout_s=_WAIT_S)
            if acknowledged is None:
                break
            self._free += [place for place in acknowledged if place < NUM_PICTURES]
        return self._free.pop(0) if self._free else None
