"""Telling still pictures from videos that are stored alike (runs in the decoder process)."""

from collections.abc import Sequence
from enum import Enum
from typing import BinaryIO

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

_HEIF_BRANDS = frozenset(
    {"avif", "avis", "mif1", "mif2", "msf1", "heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "jpeg"}
)
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN, _APP2 = 0xDA, 0xE2
_READ_BYTES = 1 << 16
_LONGEST_JPEG_BYTES = 1 << 26
# Cameras pad their pictures to whole blocks.
_LONGEST_PADDING_BYTES = 1 << 12


class Jpeg(Enum):
    """What a file that begins as a JPEG picture does is."""

    STILL = "still"
    """One photograph; it may consist of several pictures, such as a preview or a gain map."""
    MOTION = "motion"
    """One picture after another: motion JPEG."""


def jpeg_kind(file: BinaryIO) -> Jpeg | None:
    """Whether a file is a JPEG photograph or a video of JPEG pictures; ``None``: neither, or too damaged to tell.

    The file is left rewound.
    """
    try:
        file.seek(0)
        if file.read(2) != _START_OF_IMAGE:
            return None
        at = 2
        while True:  # a segment a turn: marker, length, content
            file.seek(at)
            head = file.read(8)
            if len(head) < 4 or head[0] != 0xFF:
                return None
            if head[1] == 0xFF:  # a fill byte
                at += 1
                continue
            if head[1] == _APP2 and head[4:8] == b"MPF\0":  # multi-picture format (CIPA DC-007)
                return Jpeg.STILL
            at += 2 + int.from_bytes(head[2:4], "big")
            if head[1] == _START_OF_SCAN:
                return _kind_from_end(file, start=at)
    finally:
        file.seek(0)


def _kind_from_end(file: BinaryIO, *, start: int) -> Jpeg | None:
    """What follows the picture whose compressed data begins at ``start``."""
    end = _find(file, _END_OF_IMAGE, start=start)
    if end is None:
        return None
    file.seek(end + 2)
    following = file.read(_LONGEST_PADDING_BYTES).lstrip(b"\0\xff\r\n ")
    return Jpeg.MOTION if following.startswith(_START_OF_IMAGE[1:]) else Jpeg.STILL


def _find(file: BinaryIO, marker: bytes, *, start: int) -> int | None:
    """Where a marker of two bytes stands first, at or after ``start``."""
    file.seek(start)
    at, left = start, b""
    while at - start < _LONGEST_JPEG_BYTES:
        read = file.read(_READ_BYTES)
        if not read:
            break
        place = (left + read).find(marker)
        if place >= 0:
            return at - len(left) + place
        at, left = at + len(read), read[-1:]
    return None


def moving_streams(container: InputContainer, streams: Sequence[VideoStream]) -> list[VideoStream]:
    """Those of the streams that are no cover pictures, and in AVIF and HEIC no photographs or tiles of one."""
    moving = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not is_heif(container):
        return moving
    # A picture item counts in whole seconds and lasts for none; a track has a clock.
    return [stream for stream in moving if stream.duration is not None or stream.time_base != 1]


def is_heif(container: InputContainer) -> bool:
    """Whether the file claims to be of the family of HEIC and AVIF."""
    brands = container.metadata.get("compatible_brands", "")
    claimed = {brands[at : at + 4] for at in range(0, len(brands), 4)}
    return bool({container.metadata.get("major_brand", ""), *claimed} & _HEIF_BRANDS)
