"""Trying keyframes as places to cut (runs in the decoder process)."""

from typing import BinaryIO, Self

from av.packet import Packet
from av.video.stream import VideoStream

from pipeline.media.container import PacketReader, Undecodable, best_stream, decode, open_container, seek
from pipeline.media.probe.cuts import Cut
from pipeline.media.probe.packet_index import Keyframe
from pipeline.media.sampling.footage import Footage

# Where no seek lands on a keyframe itself, so many packets before it may be read and thrown away each time.
_MAX_PASSED = 600


class Prover:
    """Seeks to a keyframe with a fresh demuxer, as decoding will, and decodes one picture."""

    def __init__(self, file: BinaryIO, *, uri: str, max_pixels: int, footage: Footage) -> None:
        file.seek(0)
        self._footage = footage
        self._container = open_container(file, uri=uri, max_pixels=max_pixels)
        self._stream = best_stream(self._container, uri=uri, max_pixels=max_pixels)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def prove(self, keyframe: Keyframe) -> Cut | None:
        """The cut at a keyframe, or ``None`` where the demuxer does not find it or the decoder cannot start there."""
        # MPEG-TS finds keyframes by dts, Matroska and MP4 by pts, which an MP4's header does not tell. A seek to
        # less than either lands on an earlier keyframe, from where the pts can be learnt.
        best: tuple[int, int, Packet[VideoStream]] | None = None
        timestamps = [keyframe.dts, keyframe.pts]
        for timestamp in timestamps:
            found = None if timestamp is None else self._find(timestamp, keyframe)
            if found is None or timestamp is None:
                continue
            num_passed, packet = found
            if best is None or num_passed < best[0]:
                best = num_passed, timestamp, packet
            if num_passed == 0:
                break
            if keyframe.pts is None and packet.pts is not None and len(timestamps) == 2:
                timestamps.append(packet.pts)
        if best is None or best[2].pts is None or not self._starts_with(best[2]):
            return None
        _, seek_to, packet = best
        return Cut(
            seek_to=seek_to,
            key_pts=packet.pts,
            num_before=keyframe.num_before,
            time=self._footage.time_of(packet.pts or 0),
        )

    def _find(self, seek_to: int, keyframe: Keyframe) -> "tuple[int, Packet[VideoStream]] | None":
        """Seek and read on to the keyframe; also how many packets came before it."""
        if not seek(self._container, self._stream, seek_to):
            return None
        for num_passed, packet in enumerate(PacketReader(self._container, self._stream)):
            is_it = packet.pts == keyframe.pts if keyframe.pts is not None else packet.dts == keyframe.dts
            if packet.is_keyframe and is_it and not packet.is_discard:
                return num_passed, packet
            is_past = keyframe.dts is not None and packet.dts is not None and packet.dts > keyframe.dts
            if is_past or num_passed == _MAX_PASSED:
                break
        return None

    def _starts_with(self, packet: "Packet[VideoStream]") -> bool:
        codec = self._stream.codec_context
        if codec.is_open:
            codec.flush_buffers()
        try:
            frames = [*decode(codec, packet), *decode(codec, None)]
        except Undecodable:
            frames = []
        codec.flush_buffers()
        first = frames[0] if frames else None
        return first is not None and first.pts == packet.pts and bool(first.key_frame) and not first.is_corrupt
