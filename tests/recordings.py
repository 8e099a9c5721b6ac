"""Recordings as a puller makes them of the tests' own videos."""

import io
from collections.abc import Iterable
from fractions import Fraction
from typing import cast

import av

from pipeline.media.fragments import Fragments, FragmentWriter


def fragments_of(
    data: bytes, *, longest_s: float = 300, largest_bytes: int = 1 << 30, shift: int = 0, has_dts: bool = True
) -> list[Fragments]:
    """Whatever a stream of these packets gives, in its order; ``shift`` moves all timestamps."""
    fragments = []
    with av.open(io.BytesIO(data), "r") as source:
        stream = source.streams.video[0]
        time_base = cast(Fraction, stream.time_base)
        writer = FragmentWriter(stream, time_base=time_base, longest_s=longest_s, largest_bytes=largest_bytes)
        for packet in source.demux(stream):
            if packet.size and packet.pts is not None:
                packet.pts += shift
                packet.dts = None if packet.dts is None or not has_dts else packet.dts + shift
                fragments += writer.add(packet)
        return fragments + writer.close()


def files_of(fragments: Iterable[Fragments]) -> list[bytes]:
    """The files that fragments make."""
    files: list[bytes] = []
    for fragment in fragments:
        if fragment.is_first:
            files.append(b"")
        files[-1] += fragment.data
    return files
