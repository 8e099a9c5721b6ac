"""Videos as archives hold them and no muxer writes them: joined, retimed and patched byte by byte."""

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from videos import pixels

TICK = Fraction(1, 12800)
_FLV_HEADER_BYTES = 13


def ticking_avi(
    codec: str, options: dict[str, str], *, ticks_hz: int, ticks_per_frame: int, num_frames: int = 150
) -> bytes:
    """An AVI whose header ticks faster than its frames."""
    file = io.BytesIO()
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(file, "w", format="avi") as out:
        stream = cast(VideoStream, out.add_stream(codec, rate=ticks_hz, options=options))
        stream.width, stream.height, stream.pix_fmt = 96, 64, pix_fmt
        stream.codec_context.time_base = Fraction(1, ticks_hz)
        for index in range(num_frames):
            frame = av.VideoFrame.from_ndarray(pixels(index, width=96, height=64), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = index * ticks_per_frame, Fraction(1, ticks_hz)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def palette_video(codec: str, kind: str, *, changes: bool = False, num_frames: int = 60) -> bytes:
    """Pictures of 256 colours, which half-way may become others."""
    rng = np.random.default_rng(5)
    opaque = np.full((256, 1), 255, np.uint8)
    palettes = [np.hstack([opaque, rng.integers(0, 256, (256, 3), dtype=np.uint8)]) for _ in range(2)]
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as out:
        stream = cast(VideoStream, out.add_stream(codec, rate=25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "pal8"
        y, x = np.mgrid[0:48, 0:64]
        for index in range(num_frames):
            colours = ((x + y * 3 + index * 5) % 256).astype(np.uint8)
            palette = palettes[int(changes and index >= num_frames // 2)]
            frame = av.VideoFrame.from_ndarray((colours, palette), format="pal8")  # type: ignore[arg-type]
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def retimed(data: bytes, *, kind: str, pts_ms: Callable[[int], int]) -> bytes:
    """The packets of a video without B-frames, each at another time; muxers refuse times that fall."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data), "r") as source, av.open(file, "w", format=kind) as out:
        inside = source.streams.video[0]
        stream = out.add_stream_from_template(inside)
        for index, packet in enumerate(p for p in source.demux(inside) if p.size):
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = pts_ms(index)
            packet.stream = stream
            out.mux(packet)
    return file.getvalue()


def flv_retimed(data: bytes, *, pts_ms: Callable[[int], int]) -> bytes:
    """An FLV whose pictures' times are overwritten, whatever the order."""
    tags = [bytearray(tag) for tag in _flv_tags(data)]
    pictures = [tag for tag in tags if tag[0] == 9 and tag[12] == 1]
    for index, tag in enumerate(pictures):
        _set_flv_time(tag, pts_ms(index))
    return data[:_FLV_HEADER_BYTES] + b"".join(tags)


def matroska_retimed(data: bytes, *, pts_ms: Callable[[int], int], num_pictures: int) -> bytes:
    """A Matroska, the first pictures of whose first cluster are overwritten with other times (simple blocks alone)."""
    changed = bytearray(data)
    at = changed.index(bytes.fromhex("1f43b675")) + 5
    for index in range(num_pictures):
        at = _next_simple_block(changed, at)
        length_bytes = 9 - changed[at + 1].bit_length()
        track_at = at + 1 + length_bytes
        changed[track_at + 1 : track_at + 3] = pts_ms(index).to_bytes(2, "big", signed=True)
        content_bytes = int.from_bytes(changed[at + 1 : track_at], "big") & (1 << 7 * length_bytes) - 1
        at = track_at + content_bytes
    return bytes(changed)


def _next_simple_block(data: bytearray, at: int) -> int:
    while True:
        at = data.index(b"\xa3", at)
        if data[at + 1] and data[at + 1 + 9 - data[at + 1].bit_length()] == 0x81:  # of track 1
            return at
        at += 1


def transport_retimed(data: bytes, *, pts_ms: Callable[[int], int]) -> bytes:
    """An MPEG-TS whose pictures' pts are overwritten; they bring no dts of their own."""
    changed = bytearray(data)
    starts = [at for at in range(0, len(data), 188) if data[at + 1] & 0x40 and b"\0\0\1\xe0" in data[at : at + 188]]
    for index, start in enumerate(starts):
        at = data.index(b"\0\0\1\xe0", start) + 9
        ticks = 90 * pts_ms(index) + 126_000
        high, middle, low = ticks >> 30 & 7, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
        packed = (0x20 | high << 1 | 1) << 32 | (middle << 1 | 1) << 16 | low << 1 | 1
        changed[at : at + 5] = packed.to_bytes(5, "big")
    return bytes(changed)


def flv_joined(first: bytes, second: bytes) -> bytes:
    """The second video behind the first: its sequence header comes once, between pictures."""
    tags = [bytearray(tag) for tag in _flv_tags(first) if not (tag[0] == 9 and tag[12] == 2)]
    start_ms = max(_flv_time(tag) for tag in tags) + 40
    for tag in _flv_tags(second):
        if tag[0] == 9:
            tags.append(bytearray(tag))
            _set_flv_time(tags[-1], _flv_time(tag) + start_ms)
    return first[:_FLV_HEADER_BYTES] + b"".join(tags)


def _flv_tags(data: bytes) -> Iterator[bytes]:
    at = _FLV_HEADER_BYTES
    while at + 11 <= len(data):
        end = at + 11 + int.from_bytes(data[at + 1 : at + 4], "big") + 4
        yield data[at:end]
        at = end


def _flv_time(tag: bytes | bytearray) -> int:
    return int.from_bytes(tag[4:7], "big") | tag[7] << 24


def _set_flv_time(tag: bytearray, time_ms: int) -> None:
    tag[4:7], tag[7] = (time_ms & 0xFFFFFF).to_bytes(3, "big"), time_ms >> 24


def joined(
    parts: Sequence[bytes],
    *,
    kind: str,
    edit: Callable[[bytes, bytes, int, int], bytes] = lambda content, header, part, index: content,
) -> bytes:
    """The packets of several videos one behind the other, under the header of the first.

    ``edit`` gets a packet's content, its own video's header, and the numbers of the video and of the packet in it.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as out:
        sources = [av.open(io.BytesIO(part), "r") for part in parts]
        stream = out.add_stream_from_template(sources[0].streams.video[0])
        start = 0
        for part, source in enumerate(sources):
            inside = source.streams.video[0]
            header, end = bytes(inside.codec_context.extradata or b""), 0
            for index, old in enumerate(p for p in source.demux(inside) if p.size):
                packet = cast("Packet[VideoStream]", Packet(edit(bytes(old), header, part, index)))
                assert old.pts is not None
                assert old.dts is not None
                packet.pts, packet.dts = (int(at * old.time_base / TICK) + start for at in (old.pts, old.dts))
                packet.time_base, packet.duration, packet.is_keyframe = TICK, 512, old.is_keyframe
                packet.stream = stream
                end = max(end, packet.pts + 512)
                out.mux(packet)
            start = end
            source.close()
    return file.getvalue()


def parameters_where(is_sent: Callable[[int], bool], *, codec: str) -> Callable[[bytes, bytes, int, int], bytes]:
    """For ``joined``: the parameter sets of later videos in band, before the packets whose number ``is_sent``."""

    def edit(content: bytes, header: bytes, part: int, index: int) -> bytes:
        if part == 0 or not is_sent(index):
            return content
        units = _avc_units(header) if codec == "h264" else _hevc_units(header)
        return b"".join(struct.pack(">I", len(unit)) + unit for unit in units) + content

    return edit


def _avc_units(header: bytes) -> Iterator[bytes]:
    """The parameter sets in an ``avcC`` box (ISO/IEC 14496-15, 5.3.3)."""
    at = 5
    for mask in (31, 255):
        num_units, at = header[at] & mask, at + 1
        for _ in range(num_units):
            end = at + 2 + int.from_bytes(header[at : at + 2], "big")
            yield header[at + 2 : end]
            at = end


def _hevc_units(header: bytes) -> Iterator[bytes]:
    """The parameter sets in an ``hvcC`` box (ISO/IEC 14496-15, 8.3.3)."""
    at = 23
    for _ in range(header[22]):
        num_units, at = int.from_bytes(header[at + 1 : at + 3], "big"), at + 3
        for _ in range(num_units):
            end = at + 2 + int.from_bytes(header[at : at + 2], "big")
            yield header[at + 2 : end]
            at = end


def mp4_of_two_headers(first: bytes, second: bytes) -> bytes:
    """One MP4 track whose second half has a sample description of its own."""
    whole = joined([first, second], kind="mp4")
    with av.open(io.BytesIO(whole), "r") as source:
        places = [packet.pos for packet in source.demux(source.streams.video[0]) if packet.size]
    with av.open(io.BytesIO(first), "r") as source:
        num_first = source.streams.video[0].frames
    other = _box_content(second, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"])[8:]
    stsc = struct.pack(">8I", 0, 2, 1, 1, 1, num_first + 1, 1, 2)
    stco = struct.pack(f">II{len(places)}I", 0, len(places), *cast("list[int]", places))
    changes: dict[bytes, Callable[[bytes], bytes]] = {
        b"stsd": lambda content: content[:4] + struct.pack(">I", 2) + content[8:] + other,
        b"stsc": lambda content: stsc,
        b"stco": lambda content: stco,
    }
    return rebuilt_mp4(whole, changes)


def rebuilt_mp4(data: bytes, changes: dict[bytes, Callable[[bytes], bytes]]) -> bytes:
    """The boxes of an MP4 whose header comes last, some with another content."""
    parents = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}
    rebuilt = []
    for kind, content in _boxes(data):
        if kind in parents:
            content = rebuilt_mp4(content, changes)  # noqa: PLW2901
        elif kind in changes:
            content = changes[kind](content)  # noqa: PLW2901
        rebuilt.append(box(kind, content))
    return b"".join(rebuilt)


def box(kind: bytes, content: bytes) -> bytes:
    """One box of an MP4."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + size]
        at += size


def _box_content(data: bytes, path: Sequence[bytes]) -> bytes:
    for name in path:
        data = next(content for kind, content in _boxes(data) if kind == name)
    return data


def fragmented(data: bytes, folder: Path, *, start_s: int, movflags: str) -> bytes:
    """The packets as a fragmented MP4 whose first fragment is shown at ``start_s``."""
    path = folder / f"{movflags}-{start_s}.mp4"
    options = {"movflags": movflags, "avoid_negative_ts": "disabled"}
    with av.open(io.BytesIO(data), "r") as source, av.open(str(path), "w", options=options) as out:
        inside = source.streams.video[0]
        stream = out.add_stream_from_template(inside)
        shift = int(start_s / cast(Fraction, inside.time_base))
        for packet in source.demux(inside):
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                out.mux(packet)
    return path.read_bytes()
