"""What a container says of its packets, without decoding them (runs in the decoder process)."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import overload

import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from pipeline.media.clock import JUMP_S, JUMPING_CONTAINERS

_NO_TIMESTAMP = -(1 << 63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframe:
    """A place to cut: a keyframe, how many frames come before it in decoding order, and its timestamps if known."""

    num_before: int
    pts: int | None
    dts: int | None


@dataclass(slots=True)
class PacketIndex:
    """Timestamps of the frames of one stream in decoding order, 16 bytes each: hours of video fit.

    ``has_pts`` is false where only the container's own index was read, which knows ``dts`` alone.
    """

    has_pts: bool
    pts: "array[int]" = field(default_factory=lambda: array("q"))
    dts: "array[int]" = field(default_factory=lambda: array("q"))
    keys: "array[int]" = field(default_factory=lambda: array("q"))
    safe_keys: "array[int]" = field(default_factory=lambda: array("q"))
    """The keyframes where a new decoder knows all it must: see ``decoder_state``."""
    last_end: int | None = None
    """Where the last readable frame ends, in the time base; ``None``: unknown."""
    num_lost: int = 0
    """Frames that the index lists past the end of the file."""

    @property
    def num_frames(self) -> int:
        """Frames that can be shown: packets that the container says to discard are none."""
        return len(self.dts)

    def add(self, packet: "Packet[VideoStream]", *, is_complete: bool) -> None:
        """Count in the next packet of a demux pass; ``is_complete`` as in ``decoder_state.Lesson``."""
        if packet.is_discard or _is_invisible(packet):
            return
        if packet.is_keyframe:
            self.keys.append(len(self.dts))
            if is_complete:
                self.safe_keys.append(len(self.dts))
        self.pts.append(_NO_TIMESTAMP if packet.pts is None else packet.pts)
        self.dts.append(_NO_TIMESTAMP if packet.dts is None else packet.dts)
        if packet.pts is not None:
            self.last_end = max(packet.pts + (packet.duration or 0), self.last_end or packet.pts)

    def keyframes(self) -> "Keyframes":
        """The keyframes in decoding order."""
        return Keyframes(self, self.keys)

    def cut_candidates(self) -> "Keyframes":
        """The keyframes with which a new decoder may start, in decoding order."""
        return Keyframes(self, self.safe_keys)

    def is_one_clock(self, *, time_base: Fraction, container: str) -> bool:
        """Whether every frame has a time, and time never falls or leaps."""
        if not self.keys or (np.diff(self._known_dts()) < 0).any():
            return False
        if not self.has_pts:
            return True
        ordered = _numbers(self.ordered_pts())
        if not len(ordered) or ordered[0] == _NO_TIMESTAMP:
            return False
        return bool((np.diff(ordered) <= _leap(time_base, container)).all())

    def has_distinct_pts(self) -> bool:
        """Whether no two frames are known to be shown at one time, so that a pts names a frame."""
        return not self.has_pts or bool((np.diff(_numbers(self.ordered_pts())) > 0).all())

    def ordered_pts(self) -> "array[int]":
        """Every frame's pts, in presentation order."""
        return _array(np.sort(_numbers(self.pts)))

    def span(self, *, time_base: Fraction, container: str) -> int:
        """Time from the first packet to the last, without what the clock jumps, in the time base."""
        steps = np.diff(self._known_dts())
        return int(steps[(steps > 0) & (steps <= _leap(time_base, container))].sum())

    def ticks(self, *, origin_pts: int) -> NDArray[np.int64]:
        """Every frame's time from the first, in the time base: as frames are decoded where pts are unknown."""
        stamps = _numbers(self.ordered_pts()) if self.has_pts else self._known_dts()
        return stamps - (origin_pts if self.has_pts else stamps[:1].sum())

    def _known_dts(self) -> NDArray[np.int64]:
        dts = _numbers(self.dts)
        return np.compress(dts != _NO_TIMESTAMP, dts)


class Keyframes(Sequence[Keyframe]):
    """A view of an index: an all-intra video has as many keyframes as frames."""

    def __init__(self, index: PacketIndex, places: "array[int]") -> None:
        self._index = index
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, place: int) -> Keyframe: ...

    @overload
    def __getitem__(self, place: slice) -> list[Keyframe]: ...

    def __getitem__(self, place: int | slice) -> Keyframe | list[Keyframe]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        index = self._index
        at = self._places[place]
        return Keyframe(num_before=at, pts=_known(index.pts[at]) if index.has_pts else None, dts=_known(index.dts[at]))

    def ordered_pts(self) -> "array[int] | None":
        """Their pts in presentation order; ``None`` where only the header's index was read."""
        return array("q", sorted(self._index.pts[at] for at in self._places)) if self._index.has_pts else None


def read_header_index(stream: VideoStream, *, file_bytes: int) -> PacketIndex | None:
    """The index that an MP4 brings with its header; ``None`` where it does not list every frame.

    Frames whose bytes lie past the end of the file are counted as lost.
    """
    entries = stream.index_entries
    if not stream.frames or len(entries) != stream.frames:
        return None
    index = PacketIndex(has_pts=False)
    for entry in entries:
        if entry.pos + entry.size > file_bytes:
            index.num_lost += 1
        elif not entry.is_discard and not index.num_lost:
            if entry.is_keyframe:
                index.keys.append(len(index.dts))
                index.safe_keys.append(len(index.dts))
            index.dts.append(entry.timestamp)
    return index


def _leap(time_base: Fraction, container: str) -> float:
    return float(JUMP_S / time_base) if container in JUMPING_CONTAINERS else float("inf")


def _numbers(values: "array[int]") -> NDArray[np.int64]:
    return np.frombuffer(values, np.int64) if values else np.empty(0, np.int64)


def _array(numbers: NDArray[np.int64]) -> "array[int]":
    return array("q", numbers.tobytes())


def _known(timestamp: int) -> int | None:
    return None if timestamp == _NO_TIMESTAMP else timestamp


def _is_invisible(packet: "Packet[VideoStream]") -> bool:
    """Whether this is a VP8 reference that is never shown (RFC 6386, 9.1: the show_frame bit)."""
    return packet.stream.codec_context.name == "vp8" and not memoryview(packet)[0] & 0x10
