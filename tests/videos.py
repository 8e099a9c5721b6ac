"""Small videos for the tests, synthesised; every frame differs from every other."""

import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

RATE_HZ = Fraction(25)
X264 = {"preset": "ultrafast", "crf": "28", "g": "24", "bf": "3", "b-pyramid": "normal", "sc_threshold": "0"}
OPEN_GOPS = {"preset": "ultrafast", "x264-params": "open-gop=1:keyint=24:min-keyint=24:bframes=3:scenecut=0"}
X265 = {"preset": "ultrafast", "crf": "30", "x265-params": "keyint=24:min-keyint=24:bframes=3:log-level=none"}

# A Matroska whose bytes a test edits: no checksum or random number in it can look like an element.
MATROSKA_TO_EDIT = {"write_crc32": "0", "fflags": "+bitexact"}
_ENCODED: dict[str | None, bytes] = {}


def pixels(index: int, *, width: int, height: int) -> NDArray[np.uint8]:
    """RGB ``uint8[height, width, 3]``: a drifting gradient with a moving bar and a little texture."""
    y, x = np.mgrid[0:height, 0:width]
    texture = np.random.default_rng(7).integers(0, 40, (height, width))
    red = (x * 3 + index * 5) % 256
    green = (y * 4 + index * 2 + np.roll(texture, index * 2, axis=1)) % 256
    blue = np.where((x - index * 3) % max(2, width) < max(1, width // 6), 230, texture)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def as_ordinary_as_before() -> None:
    """Undo what SVT-AV1's encoder does to the thread that calls it, where root does: it runs in real time from then on.

    Such a thread, and every process that it starts, leaves the cores to nobody.
    """
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def video_bytes(
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    *,
    kind: str = "mp4",
    num_frames: int = 100,
    size: tuple[int, int] = (96, 64),
    pix_fmt: str = "yuv420p",
    muxer: dict[str, str] | None = None,
    pts_ms: Callable[[int], int] | None = None,
    rotation: int | None = None,
    rate_hz: Fraction = RATE_HZ,
    first_picture: int = 0,
    seekable: bool = True,
) -> bytes:
    """One video stream as a file's bytes; ``pts_ms`` times frames one by one, otherwise ``rate_hz`` does.

    What was encoded once in this process is not encoded again.
    """
    options = dict(X264 if options is None and codec == "libx264" else options or {})
    how = (codec, options, kind, num_frames, size, pix_fmt, muxer, rotation, rate_hz, first_picture, seekable)
    key = repr(how) if pts_ms is None else None
    if key in _ENCODED:
        return _ENCODED[key]
    file = io.BytesIO() if seekable else _Pipe()
    with av.open(file, "w", format=kind, options=muxer or {}) as out:
        stream = cast(VideoStream, out.add_stream(codec, rate=rate_hz, options=options))
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        time_base = 1 / rate_hz if pts_ms is None else Fraction(1, 1000)
        stream.codec_context.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for index in range(num_frames):
            picture = pixels(first_picture + index, width=size[0], height=size[1])
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index if pts_ms is None else pts_ms(index), time_base
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    as_ordinary_as_before()
    data = file.getvalue()
    if key is not None:
        _ENCODED[key] = data
    return data


class _Pipe(io.RawIOBase):
    """A muxer's output that cannot be seeked in, as of a live recording."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)


def remuxed(
    data: bytes,
    *,
    kind: str,
    muxer: dict[str, str] | None = None,
    keep: Callable[[int], bool] = lambda index: True,
    shift: int = 0,
    scrub: Callable[[bytes, int], bytes] | None = None,
    bitstream_filter: str | None = None,
) -> bytes:
    """The same packets in another container; ``keep`` drops some, ``shift`` moves timestamps, ``scrub`` edits bytes."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(file, "w", format=kind, options=muxer or {}) as out:
        inside = source.streams.video[0]
        stream = out.add_stream_from_template(inside)
        bsf = BitStreamFilterContext(bitstream_filter, inside, stream) if bitstream_filter else None
        for index, packet in enumerate(p for p in source.demux(inside) if p.size):
            if not keep(index):
                continue
            if scrub is not None:
                packet = _with_content(packet, scrub(bytes(packet), index))  # noqa: PLW2901
            packet.pts = None if packet.pts is None else packet.pts + shift
            packet.dts = None if packet.dts is None else packet.dts + shift
            for done in bsf.filter(packet) if bsf else [packet]:
                done.stream = stream
                out.mux(done)
    return file.getvalue()


def _with_content(packet: "Packet[VideoStream]", content: bytes) -> "Packet[VideoStream]":
    edited = cast("Packet[VideoStream]", Packet(content))
    edited.pts, edited.dts, edited.duration = packet.pts, packet.dts, packet.duration
    edited.time_base, edited.is_keyframe = packet.time_base, packet.is_keyframe
    return edited


def sequential(data: bytes) -> Iterator[tuple[int | None, bool, NDArray[np.uint8]]]:
    """Plain PyAV, one thread, every frame: (pts, is_keyframe, RGB as stored). The reference."""
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            yield frame.pts, bool(frame.key_frame), cast(NDArray[np.uint8], frame.to_ndarray(format="rgb24"))


def written(folder: Path, name: str, data: bytes) -> str:
    """The path of a new file."""
    path = folder / name
    path.write_bytes(data)
    return str(path)
