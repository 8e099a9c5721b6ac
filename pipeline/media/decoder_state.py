"""What packets teach a decoder beside their pictures: palettes, new headers, parameter sets (in the decoder process).

A decoder that starts at a keyframe knows the stream's header and that keyframe's packet. Where an earlier packet taught
something that neither of them repeats, the decoder gives wrong pictures, often without an error.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_SIDE_DATA = ("palette", "new_extradata", "param_change")
# After a seek the MP4 demuxer sends the header that the place needs; no demuxer sends a palette again.
_RESENT = frozenset({("mov,mp4,m4a,3gp,3g2,mj2", "new_extradata")})
_SCANNED_BYTES = 4096
_START_CODE = b"\0\0\1"

_Key = tuple[str, int, int]
Unit = tuple[int, int, bytes]
"""The type of a parameter set, its number among those of that type, and its bytes."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one packet teaches.

    ``is_new``: it tells a decoder that was given every earlier packet something new.
    ``is_complete``: a decoder that starts with it knows as much as one that was given every earlier packet.
    """

    is_new: bool
    is_complete: bool


class DecoderState:
    """What a decoder knows that is given the packets of one stream in decoding order."""

    def __init__(self, codec: VideoCodecContext, *, container: str) -> None:
        self._header = bytes(codec.extradata or b"")
        self._units = _UNIT_READERS.get(codec.codec.canonical_name, _no_units)
        self._container = container
        self._known: dict[_Key, bytes] = {}
        self._outside_header: set[_Key] = set()

    @property
    def is_in_header(self) -> bool:
        """Whether a decoder that has only the stream's header knows all that was taught so far."""
        return not self._outside_header

    @property
    def headers(self) -> bytes | None:
        """The parameter sets of H.264 and HEVC as last taught, where they stand behind start codes (RTSP, TS)."""
        units = {key: value for key, value in self._known.items() if key[0] == "unit"}
        is_prefixed = bool(self._header) and _START_CODE not in self._header[:4]
        if not units or is_prefixed or self._units not in (_h264_units, _hevc_units):
            return None
        return b"".join(b"\0" + _START_CODE + value for _, value in sorted(units.items()))

    def follow(self, packet: "Packet[VideoStream]") -> Lesson:
        """Take in the next packet."""
        is_new = False
        carried = self._carried(packet)
        for key, value in carried.items():
            known = self._known.get(key)
            if known == value:
                continue
            self._known[key] = value
            is_in_header = value in self._header and key[0] != "palette"
            is_new = is_new or known is not None or not is_in_header
            (self._outside_header.discard if is_in_header else self._outside_header.add)(key)
        return Lesson(is_new, all(self._is_brought(key, carried) for key in self._outside_header))

    def _is_brought(self, key: _Key, carried: Mapping[_Key, bytes]) -> bool:
        # Side data that a demuxer met on its way to a packet is missing when it is sent to that packet directly.
        return (self._container, key[0]) in _RESENT if key[0] in _SIDE_DATA else key in carried

    def _carried(self, packet: "Packet[VideoStream]") -> dict[_Key, bytes]:
        carried = {("unit", kind, number): value for kind, number, value in self._units(packet, self._header)}
        for data in packet.iter_sidedata():  # asking for each kind by its name takes ten times as long
            if data.data_type in _SIDE_DATA:
                carried[data.data_type, 0, 0] = bytes(data)
        return carried


def _no_units(packet: "Packet[VideoStream]", header: bytes) -> Iterator[Unit]:
    return iter(())


def _h264_units(packet: "Packet[VideoStream]", header: bytes) -> Iterator[Unit]:
    for unit in _nal_units(packet, _h264_length_bytes(header)):
        kind = unit[0] & 31
        if 1 <= kind <= 5:  # slices: the picture has begun
            return
        if kind in (7, 15):  # sequence parameter sets: their number follows profile, constraints and level
            yield kind, _exp_golomb(unit[4:8]), unit
        elif kind == 8:  # picture parameter set
            yield kind, _exp_golomb(unit[1:5]), unit


def _hevc_units(packet: "Packet[VideoStream]", header: bytes) -> Iterator[Unit]:
    for unit in _nal_units(packet, _hevc_length_bytes(header)):
        kind = unit[0] >> 1 & 63
        if kind < 32:
            return
        if kind in (32, 33):  # video and sequence parameter sets
            yield kind, 0, unit
        elif kind == 34:  # picture parameter set
            yield kind, _exp_golomb(unit[2:6]), unit


def _h264_length_bytes(header: bytes) -> int:
    """How many bytes before each unit say how long it is; 0: start codes part them."""
    return header[4] % 4 + 1 if len(header) > 6 and header[0] == 1 else 0


def _hevc_length_bytes(header: bytes) -> int:
    is_prefixed = len(header) > 22 and header[:3] != b"\0\0\1" and header[:4] != b"\0\0\0\1"
    return header[21] % 4 + 1 if is_prefixed else 0


def _nal_units(packet: "Packet[VideoStream]", length_bytes: int) -> Iterator[bytes]:
    """The units of H.264 and HEVC, behind start codes where ``length_bytes`` is 0, in order."""
    if not length_bytes:
        yield from _behind_start_codes(packet)
        return
    data = memoryview(packet)
    at = 0
    while at + length_bytes < len(data):
        end = at + length_bytes + int.from_bytes(data[at : at + length_bytes], "big")
        unit = bytes(data[at + length_bytes : min(end, at + length_bytes + _SCANNED_BYTES)])
        if unit:
            yield unit
        at = end


def _behind_start_codes(packet: "Packet[VideoStream]") -> Iterator[bytes]:
    """What lies behind each start code, up to the next; a picture at the end may be cut short."""
    data = bytes(memoryview(packet)[:_SCANNED_BYTES])
    at = data.find(_START_CODE)
    while at >= 0:
        following = data.find(_START_CODE, at + 3)
        unit = data[at + 3 : following if following >= 0 else len(data)].rstrip(b"\0")
        if unit:
            yield unit
        at = following


def _header_units(*, parameters: frozenset[int], pictures: frozenset[int]) -> Callable[..., Iterator[Unit]]:
    """A reader for a codec whose headers stand behind start codes, each marked by one byte."""

    def units(packet: "Packet[VideoStream]", header: bytes) -> Iterator[Unit]:
        for unit in _behind_start_codes(packet):
            if unit[0] in pictures:
                return
            if unit[0] in parameters:
                yield unit[0], 0, unit

    return units


def _av1_units(packet: "Packet[VideoStream]", header: bytes) -> Iterator[Unit]:
    """Sequence headers (AV1 specification, 5.3: open bitstream units with their sizes)."""
    data = bytes(memoryview(packet)[:_SCANNED_BYTES])
    at = 0
    while at < len(data):
        kind, has_extension, has_size = data[at] >> 3 & 15, bool(data[at] & 4), bool(data[at] & 2)
        at += 2 if has_extension else 1
        if kind in (3, 6) or not has_size:
            return
        size = shift = 0
        while at < len(data):
            byte = data[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                break
        if kind == 1:
            yield kind, 0, data[at : at + size]
        at += size


def _exp_golomb(data: bytes) -> int:
    """The number at the start of ``data`` (H.264, 9.1: unsigned Exp-Golomb code)."""
    value = cast(int, struct.unpack(">I", data.ljust(4, b"\0"))[0])
    num_zeros = 32 - value.bit_length()
    return 0 if num_zeros > 15 else (value >> (31 - 2 * num_zeros)) - 1


_MPEG_VIDEO = _header_units(parameters=frozenset({0xB3, 0xB5}), pictures=frozenset(range(0xB0)))
_UNIT_READERS: dict[str, Callable[["Packet[VideoStream]", bytes], Iterator[Unit]]] = {
    "h264": _h264_units,
    "hevc": _hevc_units,
    "av1": _av1_units,
    "mpeg1video": _MPEG_VIDEO,
    "mpeg2video": _MPEG_VIDEO,
    "mpeg4": _header_units(parameters=frozenset({*range(0x20, 0x30), 0xB0, 0xB5}), pictures=frozenset({0xB6})),
    "vc1": _header_units(parameters=frozenset({0x0E, 0x0F}), pictures=frozenset({0x0B, 0x0C, 0x0D})),
}
