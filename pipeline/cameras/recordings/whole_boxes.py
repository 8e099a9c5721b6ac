"""How much of a fragmented MP4 is whole: what a killed writer left may end in the middle of a fragment."""

import os
import struct
from typing import BinaryIO


def whole_bytes(file: BinaryIO) -> int:
    """The length of the header and of all whole fragments behind it; 0: there is none, so nothing can be read."""
    file_bytes = file.seek(0, os.SEEK_END)
    at = whole = 0
    has_fragment = False
    while at + 8 <= file_bytes:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size < 8 or at + size > file_bytes:
            break
        at += size
        if kind == b"mdat":  # the content of the fragment whose description, moof, stands before it
            has_fragment, whole = True, at
    return whole if has_fragment else 0
