"""The packets of one stream and what its decoder makes of them (runs in the decoder process)."""

import resource
from collections.abc import Iterator, Sequence
from typing import Self

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import UnsupportedCodec
from pipeline.media.container import ENCRYPTED, describe
from pipeline.media.decoder_state import DecoderState, Lesson

_MAX_DAMAGED_READS = 1000
# FFmpeg reports an error at the end of a multipart stream, where another boundary could follow.
_ENDING_WITH_ERROR = frozenset({"mpjpeg"})


class Undecodable(Exception):
    """A packet that FFmpeg does not decode, in its own words."""


def decode(codec: VideoCodecContext, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
    """The frames that ``packet`` brings out; ``None``: all that the decoder still holds.

    Raises:
        Undecodable: it is damaged.
        MemoryError: there is none left; FFmpeg's own error of that kind is one, too.
    """
    try:
        return codec.decode(packet)
    except MemoryError:
        raise
    except av.FFmpegError as error:
        raise Undecodable(describe(error)) from None


def teach(codec: VideoCodecContext, packets: "Sequence[Packet[VideoStream]]") -> None:
    """Have a decoder take in what packets carry beside their pictures, which are thrown away."""
    for packet in packets:
        try:
            decode(codec, packet)
        except Undecodable:  # its picture may refer to others, which are not there
            continue
    if packets:
        codec.flush_buffers()


def seek(container: InputContainer, stream: VideoStream, timestamp: int) -> bool:
    """Send the demuxer to the last keyframe at or before ``timestamp``; whether it says that it went."""
    try:
        container.seek(timestamp, stream=stream)
    except MemoryError:
        raise
    except (av.FFmpegError, OverflowError):
        return False
    return True


class PacketReader:
    """The packets of one stream from where the demuxer stands, read on past damage.

    ``damage`` is the demuxer's message about the first damaged place, or ``None``. ``lesson`` is what the last packet
    teaches a decoder, ``state`` what all of them taught. ``passed_lessons`` are the packets that ``find_keyframe``
    passed over and that a decoder must see before the keyframe.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, *, uri: str) -> None:
        self._container = container
        self._stream = stream
        self._uri = uri
        self._packets = self._read()
        self._held: Packet[VideoStream] | None = None
        self.state = DecoderState(stream.codec_context, container=container.format.name)
        self.lesson = Lesson(is_new=False, is_complete=True)
        self.passed_lessons: list[Packet[VideoStream]] = []
        self.damage: str | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> "Packet[VideoStream]":
        held, self._held = self._held, None
        return held if held is not None else next(self._packets)

    def find_keyframe(self, pts: int | None) -> bool:
        """Pass over what comes before a keyframe, which is then the next packet; false where it does not come."""
        for packet in self._packets:
            if packet.is_keyframe and packet.pts == pts:
                self._held, self.damage = packet, None
                return True
            if self.lesson.is_new:
                self.passed_lessons.append(packet)
        return False

    def _read(self) -> "Iterator[Packet[VideoStream]]":
        damage: str | None = None
        for _ in range(_MAX_DAMAGED_READS):
            try:
                for packet in self._container.demux(self._stream):
                    if packet.size:
                        self.damage, damage = self.damage or damage, None
                        self._require_clear(packet)
                        self.lesson = self.state.follow(packet)
                        yield packet
                break
            except IndexError:
                # PyAV 18.1, as it flushes at the end: a stream that appeared half-way is not in its list.
                break
            except av.FFmpegError as error:
                if isinstance(error, MemoryError) and _is_nearly_full():
                    raise
                damage = damage or describe(error)
        if self._container.format.name not in _ENDING_WITH_ERROR:
            self.damage = self.damage or damage

    def _require_clear(self, packet: "Packet[VideoStream]") -> None:
        if any(data.data_type == "encryption_info" for data in packet.iter_sidedata()):
            raise UnsupportedCodec(self._uri, ENCRYPTED)


def _is_nearly_full() -> bool:
    """Whether memory is really short; otherwise a damaged length asked for more than any packet has."""
    limit_bytes = resource.getrlimit(resource.RLIMIT_DATA)[0]
    used_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return limit_bytes != resource.RLIM_INFINITY and used_bytes > limit_bytes / 2
