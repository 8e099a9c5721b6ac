"""Opening what comes in now: RTSP from the relay beside it, bytes in parts, a file that lies open.

What the batch's container denies stays denied there. Here one address can be opened, that of the relay; it is the only
one that this process may connect to, and it may do so once.
"""

from dataclasses import dataclass
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.errors import NotVideo
from pipeline.media.container import best_stream, describe, open_confined, open_container, open_decoder
from pipeline.media.live.parts import Part

UNNAMED = "the stream"
"""A decoder is not told the address of what it decodes; its parent names it."""

# The header of RTSP describes the stream, so nothing needs to be looked at before the first packet: FFmpeg would look
# at it for up to five seconds. Not ``nobuffer``, which throws away what it looked at: that may be a keyframe.
_AT_ONCE = {"probesize": "32", "analyzeduration": "1", "fps_probe_size": "0"}
_RTSP_OPTIONS = {
    "rtsp_transport": "tcp",
    "allowed_media_types": "video",
    "protocol_whitelist": "tcp,rtp",
    **_AT_ONCE,
}
_PIPED_OPTIONS = {"probesize": "1000000", "analyzeduration": "1500000", "fps_probe_size": "0"}
# Both hold pictures one after another, without a clock.
_WITHOUT_PTS = frozenset({"mpjpeg", "mjpeg"})
_READ_BYTES = 1 << 15


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSource:
    """An opened stream."""

    container: InputContainer
    stream: VideoStream
    is_live: bool
    """Whether packets come when the camera sends them; otherwise they are shown at their own pace."""
    has_pts: bool
    why: str
    """Why a session begins with it."""


def open_relay(url: str, *, max_pixels: int) -> LiveSource:
    """Open RTSP over TCP.

    Raises:
        InputError: it does not open, or holds no video that can be decoded.
    """
    if not url.startswith("rtsp://127.0.0.1:"):
        raise ValueError("only a relay on this machine is opened")
    options = {**_RTSP_OPTIONS, "max_pixels": str(max_pixels)}
    try:
        container = av.open(url, "r", format="rtsp", options=options, metadata_errors="replace")
    except MemoryError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise NotVideo(UNNAMED, f"RTSP does not open ({describe(error)})") from None
    return _opened(container, is_live=True, max_pixels=max_pixels, why="connected")


def open_part(part: Part, *, max_pixels: int, why: str) -> LiveSource:
    """Open a stream of bytes, which can be read once.

    Raises:
        InputError: it does not open, or holds no video that can be decoded.
    """
    container = open_confined(
        part.file,
        uri=UNNAMED,
        demuxer=part.demuxer,
        max_pixels=max_pixels,
        read_bytes=_READ_BYTES,
        probing=_AT_ONCE if part.demuxer in _WITHOUT_PTS else _PIPED_OPTIONS,
    )
    return _opened(container, is_live=part.is_live, max_pixels=max_pixels, why=why)


def open_file(file: BinaryIO, *, max_pixels: int) -> LiveSource:
    """Open a file as the batch does, to be played at its own pace.

    Raises:
        InputError: it holds no video that can be decoded.
    """
    container = open_container(file, uri=UNNAMED, max_pixels=max_pixels)
    return _opened(container, is_live=False, max_pixels=max_pixels, why="connected")


def _opened(container: InputContainer, *, is_live: bool, max_pixels: int, why: str) -> LiveSource:
    stream = best_stream(container, uri=UNNAMED, max_pixels=max_pixels)
    stream.codec_context.skip_frame = "DEFAULT"
    open_decoder(stream.codec_context, uri=UNNAMED)
    has_pts = not (is_live and container.format.name in _WITHOUT_PTS)
    return LiveSource(container=container, stream=stream, is_live=is_live, has_pts=has_pts, why=why)
