"""Cutting a part out of decoded frames before their colours are converted (runs in the decoder process)."""

from fractions import Fraction

from av.filter import Graph
from av.video.frame import VideoFrame

Part = tuple[slice, slice]
"""Rows and columns."""

# Chroma is shared by so many rows and columns; and lines start where vector instructions want them.
_ROWS_STEP, _COLUMNS_STEP = 2, 64
# FFmpeg converts these a pair of rows at a time, with no look at their neighbours; others it interpolates.
_CONVERTED_BY_ROW_PAIRS = {"yuv420p", "yuvj420p"}
_ANY_TIME_BASE = Fraction(1, 1000)


class Cropper:
    """Cuts the same part out of frames of one size and format: FFmpeg's filter moves pointers, and no pixel."""

    def __init__(self, frame: VideoFrame, part: Part) -> None:
        self._kind = _kind_of(frame, part)
        top, bottom = _outwards(part[0], step=_ROWS_STEP, length=frame.height)
        left, right = _outwards(part[1], step=_COLUMNS_STEP, length=frame.width)
        self._part = part
        self._graph: Graph | None = None
        is_whole = (bottom - top, right - left) == (frame.height, frame.width)
        is_paired = frame.format.name in _CONVERTED_BY_ROW_PAIRS and frame.height % _ROWS_STEP == 0
        if is_whole or not is_paired or frame.interlaced_frame:  # two fields are converted, each by itself
            return
        self._part = _moved(part[0], -top), _moved(part[1], -left)
        self._graph = Graph()
        self._graph.threads = 1
        width, height, pixels = frame.width, frame.height, frame.format
        self._graph.link_nodes(
            self._graph.add_buffer(width=width, height=height, format=pixels, time_base=_ANY_TIME_BASE),
            self._graph.add("crop", f"{right - left}:{bottom - top}:{left}:{top}:exact=1"),
            self._graph.add("buffersink"),
        ).configure()

    def fits(self, frame: VideoFrame, part: Part) -> bool:
        """Whether it is made for such frames."""
        return self._kind == _kind_of(frame, part)

    def crop(self, frame: VideoFrame) -> tuple[VideoFrame, Part]:
        """As little of ``frame`` as converts to the same pixels, and where in it the part lies; or all of it."""
        if self._graph is None:
            return frame, self._part
        self._graph.vpush(frame)
        return self._graph.vpull(), self._part


def _kind_of(frame: VideoFrame, part: Part) -> tuple[int, int, str, bool, Part]:
    return frame.width, frame.height, frame.format.name, frame.interlaced_frame, part


def _outwards(along: slice, *, step: int, length: int) -> tuple[int, int]:
    return along.start // step * step, min(length, -(-along.stop // step) * step)


def _moved(along: slice, by: int) -> slice:
    return slice(along.start + by, along.stop + by)
