"""What the first packets of a stream decode to (runs in the decoder process)."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise
from typing import Self

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from pipeline.errors import Corrupt
from pipeline.media.packets import PacketReader, Undecodable, decode
from pipeline.media.probe.packet_index import PacketIndex

_HEAD_FRAMES = 4
_HEAD_PACKETS = 10_000
# AVI stores no pts. FFmpeg derives them from the types of pictures, but not for these codecs.
_UNTIMED_IN_AVI = frozenset({"h264", "hevc"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The first frames of a stream, in presentation order, next to what their packets said."""

    frames: list[VideoFrame]
    is_ordered: bool
    """Whether the frames come out as their packets' pts say."""
    counts_packets: bool
    """Whether pts only number the packets: they never fall in decoding order, although the decoder reorders frames."""

    @property
    def has_pts(self) -> bool:
        """Whether frames have pts: these may repeat or fall back a little, as those of cameras do."""
        return not self.counts_packets and any(frame.pts is not None for frame in self.frames)

    def origin_pts(self, *, frame_duration: Fraction) -> int:
        """The first frame's pts; where it has none, counted back from the first frame that has one."""
        for ordinal, frame in enumerate(self.frames):
            if frame.pts is not None:
                return frame.pts - round(ordinal * frame_duration)
        return 0

    @classmethod
    def read(
        cls, reader: PacketReader, index: PacketIndex, codec: VideoCodecContext, *, container: str, uri: str
    ) -> Self:
        """Decode until a few frames came out; every packet that this takes is counted into ``index``.

        Raises:
            Corrupt: nothing decodes.
        """
        promised: list[int] = []
        has_untimed = False
        frames: list[VideoFrame] = []
        complaint = "no packet decodes"
        for packet in chain(islice(reader, _HEAD_PACKETS), [None]):
            if packet is not None:
                index.add(packet, is_complete=reader.lesson.is_complete)
                has_untimed = has_untimed or packet.pts is None
                promised += [] if packet.is_discard or packet.pts is None else [packet.pts]
            try:
                frames += decode(codec, packet)
            except Undecodable as error:
                complaint = str(error)
            if len(frames) >= _HEAD_FRAMES:
                break
        if not frames:
            raise Corrupt(uri, f"nothing decodes: {complaint}")
        shown = [frame.pts for frame in frames]
        is_delayed = container == "avi" and codec.has_b_frames and codec.codec.canonical_name in _UNTIMED_IN_AVI
        counts_packets = _never_falls(promised) and (is_delayed or not _never_falls(shown))
        # What comes before the first frame refers to pictures that are not there: a recording that was joined late.
        expected = [pts for pts in sorted(promised) if shown[0] is not None and pts >= shown[0]]
        return cls(
            frames=frames,
            is_ordered=not has_untimed and not counts_packets and shown == expected[: len(shown)],
            counts_packets=counts_packets,
        )


def _never_falls(stamps: Sequence[int | None]) -> bool:
    known = [pts for pts in stamps if pts is not None]
    return all(earlier <= later for earlier, later in pairwise(known))
