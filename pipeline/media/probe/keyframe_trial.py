"""Trying keyframes as places to cut (runs in the decoder process)."""

from dataclasses import dataclass
from typing import BinaryIO, Self, cast

from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.media.container import best_stream, open_container
from pipeline.media.packets import PacketReader, Undecodable, decode, seek, teach
from pipeline.media.probe.cuts import Cut
from pipeline.media.probe.packet_index import Keyframe
from pipeline.media.sampling.footage import Footage

# Where no seek lands on a keyframe itself, so many packets before it may be read and thrown away each time.
_MAX_PASSED = 600
# A new decoder for these needs only the stream's header, and takes 0.1 to 0.3 ms.
_RENEWED_FROM_HEADER = frozenset({"h264", "hevc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4"})


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A keyframe that a seek led to, and what was read on the way."""

    seek_to: int
    num_passed: int
    lessons: "tuple[Packet[VideoStream], ...]"
    packet: "Packet[VideoStream]"


class Prover:
    """Seeks to a keyframe, as decoding will, and decodes one picture with a decoder that has seen nothing else."""

    def __init__(self, file: BinaryIO, *, uri: str, max_pixels: int, footage: Footage) -> None:
        self._file = file
        self._uri = uri
        self._max_pixels = max_pixels
        self._footage = footage
        self._container, self._stream = self._open()

    def _open(self) -> tuple[InputContainer, VideoStream]:
        self._file.seek(0)
        container = open_container(self._file, uri=self._uri, max_pixels=self._max_pixels)
        return container, best_stream(container, uri=self._uri, max_pixels=self._max_pixels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def prove(self, keyframe: Keyframe) -> Cut | None:
        """The cut at a keyframe, or ``None`` where the demuxer does not find it or the decoder cannot start there."""
        arrival = self._arrive(keyframe)
        if arrival is None:
            return None
        decoder = self._renewed_decoder()
        if decoder is None or not _starts_with(decoder, arrival):
            # Decoding opens the video anew as well: nothing that was read for another keyframe helps or disturbs.
            self._container.close()
            self._container, self._stream = self._open()
            arrival = self._find(arrival.seek_to, keyframe)
            if arrival is None or not _starts_with(self._stream.codec_context, arrival):
                return None
        key_pts = arrival.packet.pts or 0
        return Cut(
            seek_to=arrival.seek_to,
            key_pts=key_pts,
            num_before=keyframe.num_before,
            time=self._footage.time_of(key_pts),
        )

    def _arrive(self, keyframe: Keyframe) -> _Arrival | None:
        """The seek that leads closest to the keyframe.

        MPEG-TS finds keyframes by dts, Matroska and MP4 by pts, which an MP4's header does not tell. A seek to less
        than either lands on an earlier keyframe, from where the pts can be learnt.
        """
        best: _Arrival | None = None
        timestamps = [keyframe.dts, keyframe.pts]
        for timestamp in timestamps:
            arrival = None if timestamp is None else self._find(timestamp, keyframe)
            if arrival is None:
                continue
            if best is None or arrival.num_passed < best.num_passed:
                best = arrival
            if arrival.num_passed == 0:
                break
            if keyframe.pts is None and arrival.packet.pts is not None and len(timestamps) == 2:
                timestamps.append(arrival.packet.pts)
        return None if best is None or best.packet.pts is None else best

    def _find(self, seek_to: int, keyframe: Keyframe) -> _Arrival | None:
        """Seek and read on to the keyframe."""
        if not seek(self._container, self._stream, seek_to):
            return None
        reader = PacketReader(self._container, self._stream, uri=self._uri)
        lessons: list[Packet[VideoStream]] = []
        for num_passed, packet in enumerate(reader):
            is_it = packet.pts == keyframe.pts if keyframe.pts is not None else packet.dts == keyframe.dts
            if packet.is_keyframe and is_it and not packet.is_discard:
                return _Arrival(seek_to, num_passed, tuple(lessons), packet)
            if reader.lesson.is_new:
                lessons.append(packet)
            is_past = keyframe.dts is not None and packet.dts is not None and packet.dts > keyframe.dts
            if is_past or num_passed == _MAX_PASSED:
                break
        return None

    def _renewed_decoder(self) -> VideoCodecContext | None:
        """A decoder that has seen no packet; ``None`` where only opening the video again gives one."""
        used = self._stream.codec_context
        if used.codec.canonical_name in _RENEWED_FROM_HEADER:
            renewed = cast(VideoCodecContext, CodecContext.create(used.codec, "r"))
            renewed.extradata = used.extradata
            renewed.options = dict(used.options)
            renewed.thread_count, renewed.thread_type = 1, "NONE"
            return renewed
        if used.codec.intra_only:
            if used.is_open:
                used.flush_buffers()  # each picture stands alone
            return used
        return None


def _starts_with(codec: VideoCodecContext, arrival: _Arrival) -> bool:
    """Whether a decoder that may know what was passed over gives the keyframe's picture, whole."""
    teach(codec, arrival.lessons)
    try:
        frames = [*decode(codec, arrival.packet), *decode(codec, None)]
    except Undecodable:
        return False
    first = frames[0] if frames else None
    return first is not None and first.pts == arrival.packet.pts and bool(first.key_frame) and not first.is_corrupt
