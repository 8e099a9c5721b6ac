"""Packets as they came, wrapped as fragments of an MP4 by FFmpeg's own muxer; nothing is decoded or encoded anew."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from pipeline.media.container import describe

_MOVFLAGS = "empty_moov+default_base_moof+frag_discont+skip_trailer"
_HEADER_BOXES = frozenset({b"ftyp", b"moov"})


class NotRecordable(Exception):
    """No MP4 holds such packets, in FFmpeg's words."""


@dataclass(frozen=True, slots=True)
class KeptPacket:
    """One packet of a recording, with the pts that its frame was given."""

    data: bytes
    pts: int
    is_keyframe: bool
    shown_pts: int | None = None
    """Of the last frame that was shown before it came."""


class FragmentMuxer:
    """Makes the fragments of one file."""

    def __init__(self, template: VideoStream, *, time_base: Callable[[], Fraction], headers: bytes | None) -> None:
        """Begin a file.

        Args:
            template: what the packets are of.
            time_base: of their pts, ``1/N``, once there are some.
            headers: the codec's own headers, where they changed since the stream was opened.
        """
        self._template = template
        self._time_base_of = time_base
        self._headers = headers
        self._num_fragments = 0

    def fragment(self, packets: Sequence[KeptPacket], decoding: Sequence[int], *, duration: int) -> bytes:
        """Consecutive packets, of which the last one is shown for ``duration``; the first fragment holds the header.

        Raises:
            NotRecordable: the muxer refuses them.
        """
        out, time_base = io.BytesIO(), self._time_base_of()
        options = {
            "movflags": _MOVFLAGS,
            "use_editlist": "0",
            "avoid_negative_ts": "disabled",
            "video_track_timescale": str(time_base.denominator),
            "fragment_index": str(self._num_fragments + 1),
        }
        try:
            with av.open(out, "w", format="mp4", options=options) as container:
                stream = container.add_stream_from_template(self._template, opaque=True)
                stream.time_base = time_base
                if self._headers is not None:
                    stream.codec_context.extradata = self._headers
                for place, kept in enumerate(packets):
                    packet: Packet[Stream] = Packet(kept.data)
                    packet.pts, packet.dts, packet.time_base = kept.pts, decoding[place], time_base
                    packet.duration = decoding[place + 1] - decoding[place] if place + 1 < len(packets) else duration
                    packet.is_keyframe = kept.is_keyframe
                    packet.stream = stream
                    container.mux(packet)
        except MemoryError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise NotRecordable(describe(error)) from None
        boxes = list(_boxes(out.getvalue()))
        is_first = self._num_fragments == 0
        self._num_fragments += sum(kind == b"moof" for kind, _ in boxes)
        return b"".join(data for kind, data in boxes if is_first or kind not in _HEADER_BOXES)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The boxes that an MP4 consists of: their kinds, and all their bytes."""
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:  # of 64 bits
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        yield data[at + 4 : at + 8], data[at : at + max(8, length)]
        at += max(8, length)
