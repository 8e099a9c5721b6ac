"""What an MP4's boxes say of a fragmented track's length (runs in the decoder process).

FFmpeg's duration of such a track is counted from zero, although its first fragment may start hours later, and edit
lists move the times of frames but not that duration. The segment index counts from the first fragment.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

_MAX_BOXES = 1000
_MAX_INDEX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Mp4Layout:
    """How an MP4 stores its samples.

    ``indexed_s`` is what the segment index promises of the track from its first fragment on; ``None``: no index.
    """

    is_fragmented: bool
    indexed_s: Fraction | None


def read_layout(file: BinaryIO, *, track_id: int, file_bytes: int) -> Mp4Layout:
    """Read the boxes up to the first fragment; the file is left where it stood."""
    stood_at = file.tell()
    indexed_s: Fraction | None = None
    is_fragmented = False
    try:
        for kind, start, size in _boxes(file, file_bytes=file_bytes):
            if kind == b"moof":
                is_fragmented = True
                break
            if kind == b"sidx" and indexed_s is None and size <= _MAX_INDEX_BYTES:
                file.seek(start)
                indexed_s = _indexed_s(file.read(size), track_id=track_id)
    finally:
        file.seek(stood_at)
    return Mp4Layout(is_fragmented=is_fragmented, indexed_s=indexed_s if is_fragmented else None)


def _boxes(file: BinaryIO, *, file_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of the file itself: their kind, where their content starts, and how long it is."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > file_bytes:
            return
        file.seek(at)
        head = file.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        header_bytes = 8
        if size == 1 and len(head) == 16:
            size, header_bytes = struct.unpack(">Q", head[8:])[0], 16
        if size < header_bytes:  # 0: up to the end of the file
            return
        yield kind, at + header_bytes, size - header_bytes
        at += size


def _indexed_s(content: bytes, *, track_id: int) -> Fraction | None:
    """The sum of a segment index's durations (ISO/IEC 14496-12, 8.16.3)."""
    if len(content) < 12:
        return None
    version = content[0]
    reference_id, timescale = struct.unpack_from(">II", content, 4)
    at = 12 + (8 if version == 0 else 16)
    if reference_id != track_id or not timescale or len(content) < at + 4:
        return None
    (num_references,) = struct.unpack_from(">H", content, at + 2)
    durations = [
        struct.unpack_from(">I", content, at + 4 + 12 * place + 4)[0]
        for place in range(num_references)
        if at + 16 + 12 * place <= len(content)
    ]
    return Fraction(sum(durations), timescale)
