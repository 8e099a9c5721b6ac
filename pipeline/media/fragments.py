"""Packets of a live stream as a fragmented MP4: kept as they came, and never decoded for it.

Each packet is a fragment of its own. So a recording that is cut off anywhere is whole up to its last picture, and a
picture is in it as soon as the next packet has come.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, cast

import av
from av.packet import Packet
from av.video.stream import VideoStream
from typing_extensions import override

from pipeline.errors import UnsupportedCodec
from pipeline.media.container import describe
from pipeline.media.decoder_state import is_instantaneous

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LONGEST_S = 300.0
LARGEST_BYTES = 64 << 20

_MOVFLAGS = "+empty_moov+default_base_moof+frag_every_frame+frag_discont+skip_trailer"
# Files of a stream whose pictures reach across every keyframe become so many times as large before they are cut.
_STRETCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """The next bytes of a recording: whole boxes.

    ``start_pts`` and ``end_pts`` say from when to when the pictures in it are shown, in the stream's time base.
    """

    data: bytes
    is_first: bool
    """A new file begins: the header comes first, and behind it a keyframe."""
    start_pts: int
    end_pts: int


class FragmentWriter:
    """Turns packets into files, each of which begins with a keyframe.

    Every pts stays what it is, in ticks of the stream's time base (where that is no unit fraction, of its
    denominator). A new file begins once ``longest_s`` or ``largest_bytes`` are reached, at a keyframe that no picture
    behind it reaches across.
    """

    def __init__(
        self,
        stream: VideoStream,
        *,
        time_base: Fraction,
        longest_s: float = LONGEST_S,
        largest_bytes: int = LARGEST_BYTES,
    ) -> None:
        """Begin a recording of a stream whose packets have their pts in ``time_base``.

        Raises:
            UnsupportedCodec: an MP4 cannot hold what it is coded in.
        """
        self._stream = stream
        self._time_base = time_base
        self._longest = longest_s / time_base
        self._largest_bytes = largest_bytes
        self._has_leading = False
        self._num_keyframes = 0
        self._file = _File(stream, time_base=time_base)

    def add(self, packet: "Packet[VideoStream]") -> list[Fragments]:
        """Take the next packet in decoding order, of which a copy is kept.

        Packets before the first keyframe, and those without a pts, are no part of a recording.

        Returns:
            What is whole by now: the packets before this one.
        """
        if packet.pts is None or not packet.size or (self._file.is_empty and not packet.is_keyframe):
            return []
        finished = []
        if packet.is_keyframe and self._is_due(1) and (self._is_closed(packet) or self._is_due(_STRETCH)):
            finished = self.close()
            self._file = _File(self._stream, time_base=self._time_base)
        self._has_leading = self._has_leading or packet.pts < self._file.keyframe_pts
        self._num_keyframes += packet.is_keyframe
        return finished + self._file.add(packet)

    def close(self) -> list[Fragments]:
        """Finish the file: what it still held."""
        return self._file.close()

    def _is_due(self, times: int) -> bool:
        file = self._file
        return file.length >= times * self._longest or file.num_bytes >= times * self._largest_bytes

    def _is_closed(self, packet: "Packet[VideoStream]") -> bool:
        """Whether a decoder that starts with this keyframe gives all that is shown from the keyframe before it on."""
        is_never_led = self._num_keyframes > 1 and not self._has_leading
        return is_never_led or is_instantaneous(packet, self._stream.codec_context)


class _File:
    """One MP4 on its way."""

    def __init__(self, stream: VideoStream, *, time_base: Fraction) -> None:
        self._time_base = time_base
        self._sink = _Sink()
        options = {
            "movflags": _MOVFLAGS,
            "use_editlist": "0",
            "avoid_negative_ts": "disabled",
            "video_track_timescale": str(time_base.denominator),
        }
        self._container = av.open(cast(BinaryIO, self._sink), "w", format="mp4", options=options)
        try:
            self._track = self._container.add_stream_from_template(stream, opaque=True)
        except (ValueError, av.FFmpegError) as error:
            raise UnsupportedCodec("recording", f"an MP4 cannot hold it ({describe(error)})") from None
        self._track.time_base = Fraction(1, time_base.denominator)
        self._inside: list[tuple[int, int]] = []  # from when to when each packet is shown that the muxer still holds
        self._header = b""
        self._is_begun = False
        self._first_pts: int | None = None
        self._last_dts: int | None = None
        self.keyframe_pts = 0
        """Of the last keyframe."""
        self.num_bytes = 0
        self.length = 0
        """From the first packet to the last one's end, in the time base."""

    @property
    def is_empty(self) -> bool:
        return self._first_pts is None

    def add(self, packet: "Packet[VideoStream]") -> list[Fragments]:
        pts, dts = packet.pts or 0, packet.dts
        if dts is not None and self._last_dts is not None:
            dts = max(dts, self._last_dts + 1)  # an MP4's only go forward
        if dts is not None and dts > pts:  # it says that it is shown before it is decoded
            return []
        copy = av.Packet(bytes(packet))
        copy.pts, copy.dts, copy.duration, copy.time_base = pts, dts, packet.duration, self._time_base
        copy.is_keyframe, copy.stream = packet.is_keyframe, self._track
        try:
            self._container.mux(copy)
        except av.FFmpegError:  # of this packet, which then is in no recording
            return []
        self._last_dts = dts
        self._first_pts = pts if self._first_pts is None else self._first_pts
        self.keyframe_pts = pts if packet.is_keyframe else self.keyframe_pts
        end = pts + (packet.duration or 0)
        self.length = max(self.length, end - self._first_pts)
        self._inside.append((pts, end))
        return self._whole(self._inside[:-1])

    def close(self) -> list[Fragments]:
        if self.is_empty:
            return []
        self._container.close()
        return self._whole(self._inside[:])

    def _whole(self, spans: list[tuple[int, int]]) -> list[Fragments]:
        """What the muxer has written since: these packets, and first the file's header."""
        data = self._sink.taken()
        self.num_bytes += len(data)
        if not spans or not data:
            self._header += data
            return []
        del self._inside[: len(spans)]
        whole = Fragments(
            data=self._header + data,
            is_first=not self._is_begun,
            start_pts=min(start for start, _ in spans),
            end_pts=max(end for _, end in spans),
        )
        self._header, self._is_begun = b"", True
        return [whole]


class _Sink(io.RawIOBase):
    """Takes what the muxer writes; it cannot go back in it."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: "ReadableBuffer") -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What came since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
