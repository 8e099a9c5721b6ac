"""Whole pictures from RTSP: servers put parameter sets before every slice of a keyframe, and FFmpeg then cuts it there.

GStreamer's payloader does so with ``config-interval=-1``. A decoder that gets half of a picture at a time gives two
damaged ones.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.media.packets import PacketReader

_START_CODE = b"\0\0\1"
# Of units that hold a slice (H.264 7.3.1, HEVC 7.3.1.2): their types, where the type lies in the first byte, and how
# long their header is.
_SLICES = {"h264": (range(1, 6), 0, 31, 1), "hevc": (range(32), 1, 63, 2)}


_SLOWEST_HZ = 5
"""A keyframe waits for the packet behind it, which takes too long where they come more seldom."""


class AccessUnits:
    """The packets of a stream, keyframes whole."""

    def __init__(self, reader: PacketReader, *, codec: str, container: str, rate_hz: Fraction) -> None:
        """Read on from where ``reader`` stands; what such a stream is, and how many frames a second it has."""
        self._reader = reader
        may_be_cut = container == "rtsp" and codec in _SLICES and rate_hz >= _SLOWEST_HZ
        self._codec = codec if may_be_cut else None

    def __iter__(self) -> "Iterator[tuple[Packet[VideoStream], bytes | None]]":
        """Each packet, and the codec's headers where it brings new ones as a keyframe."""
        held: tuple[Packet[VideoStream], bytes | None] | None = None
        for packet in self._reader:
            headers = self._reader.state.headers if self._reader.lesson.is_new and packet.is_keyframe else None
            if held is not None and self._continues(packet):
                held = _joined(held[0], packet), headers or held[1]
                continue
            if held is not None:
                yield held
                held = None
            if self._codec is not None and packet.is_keyframe:
                held = packet, headers
            else:
                yield packet, headers
        if held is not None:
            yield held

    def _continues(self, packet: "Packet[VideoStream]") -> bool:
        """Whether its first slice is not the first of a picture: that one's first bit would say so."""
        if self._codec is None:
            return False
        types, shift, mask, header_bytes = _SLICES[self._codec]
        data = bytes(packet)
        at = data.find(_START_CODE)
        while 0 <= at < len(data) - 5:
            if data[at + 3] >> shift & mask in types:
                return not data[at + 3 + header_bytes] & 0x80
            at = data.find(_START_CODE, at + 3)
        return False


def _joined(first: "Packet[VideoStream]", second: "Packet[VideoStream]") -> "Packet[VideoStream]":
    joined = cast("Packet[VideoStream]", Packet(bytes(first) + bytes(second)))
    joined.pts = second.pts if first.pts is None else first.pts
    joined.dts = None
    joined.time_base = first.time_base
    joined.duration = first.duration
    joined.is_keyframe = True
    return joined
