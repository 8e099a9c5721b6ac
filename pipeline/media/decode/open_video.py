"""One opened video, ready to be decoded segment by segment (runs in the decoder process)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.errors import Corrupt, TooLarge
from pipeline.media.container import best_stream, open_container, open_decoder
from pipeline.media.packets import PacketReader, Undecodable, decode, seek, teach
from pipeline.media.sampling.pickers import Tick
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.succession import Pass, Taken, pass_over
from pipeline.records.segments import FrameMark, Segment, TimeRange, VideoFacts
from pipeline.records.windows import Windows


@dataclass(frozen=True, slots=True)
class Picked:
    """A sample of segment ``segment`` and perhaps of some that follow it, still in the decoder's own format."""

    segment: int
    mark: FrameMark
    frame: VideoFrame
    taken: Taken


class OpenVideo:
    """A container, its best stream, and what to keep of it.

    Attributes:
        decoded_frames: how many frames came out of the decoder so far, samples or not.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        uri: str,
        facts: VideoFacts,
        rule: SamplingRule,
        time_range: TimeRange,
        max_pixels: int,
        windows: Windows | None = None,
    ) -> None:
        """Open ``file`` and find in it the stream that the probe chose.

        Raises:
            InputError: as ``open_container`` and ``best_stream``.
        """
        self.uri = uri
        self.facts = facts
        self.max_pixels = max_pixels
        self.decoded_frames = 0
        self._file = file
        self._rule = rule
        self._time_range = time_range
        self._windows = windows
        self._open()

    def _open(self) -> None:
        self._file.seek(0)
        self.container = open_container(self._file, uri=self.uri, max_pixels=self.max_pixels)
        self.stream = best_stream(self.container, uri=self.uri, max_pixels=self.max_pixels)
        self.codec = self.stream.codec_context
        # dav1d takes skip_frame only as it is opened, and would drop samples that are no references.
        self.codec.skip_frame = "DEFAULT"
        open_decoder(self.codec, uri=self.uri)
        self._is_at_start = True
        self._reader = PacketReader(self.container, self.stream, uri=self.uri)
        if self.stream.index != self.facts.stream_index:
            raise Corrupt(self.uri, f"its best stream is {self.stream.index}, and was {self.facts.stream_index}")

    def pickers(self, segments: Sequence[Segment]) -> Pass:
        """The sampling rule's decisions for consecutive segments."""
        return pass_over(segments, self._rule, self._time_range, windows=self._windows)

    def rewind(self, segment: Segment) -> PacketReader:
        """The packets from the segment's start keyframe on, with the decoder as new.

        Raises:
            Corrupt: the keyframe is nowhere.
        """
        if segment.seek_to is None:
            # Not every demuxer can seek to its first packet; every one starts there.
            return self._from_start()
        if not self._reader.state.is_in_header:
            # Both may have been taught what does not hold here, or the decoder lacks what the demuxer says but once.
            self._from_start()
        self.codec.flush_buffers()
        self._is_at_start = False
        if seek(self.container, self.stream, segment.seek_to):
            self._reader = PacketReader(self.container, self.stream, uri=self.uri)
            if self._find_keyframe(segment):
                return self._reader
        self._from_start()
        if not self._find_keyframe(segment):
            raise Corrupt(self.uri, f"the keyframe at pts {segment.key_pts} is not where it was")
        return self._reader

    def _find_keyframe(self, segment: Segment) -> bool:
        is_there = self._reader.find_keyframe(segment.key_pts)
        if is_there:
            teach(self.codec, self._reader.passed_lessons)
        return is_there

    def _from_start(self) -> PacketReader:
        if not self._is_at_start:
            self.container.close()
            self._open()
        self._is_at_start = False
        self._reader = PacketReader(self.container, self.stream, uri=self.uri)
        return self._reader

    def decode(self, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
        """The frames that ``packet`` brings out; ``None``: all that the decoder still holds.

        Raises:
            Undecodable: it is damaged.
            TooLarge: it announces frames of more than ``max_pixels`` pixels.
        """
        try:
            frames = decode(self.codec, packet)
        except Undecodable:
            self._require_size(self.codec.width, self.codec.height)
            raise
        self.decoded_frames += len(frames)
        return frames

    def picked(self, segment: Segment, frame: VideoFrame, *, taken: Taken, tick: Tick, epoch: int, pts: int) -> Picked:
        """A sample, checked for its size.

        Raises:
            TooLarge: the frame has more than ``max_pixels`` pixels.
        """
        self._require_size(frame.width, frame.height)
        mark = FrameMark(
            epoch=epoch,
            pts=pts,
            time_s=float(tick.time),
            is_keyframe=bool(frame.key_frame),
            is_corrupt=bool(frame.is_corrupt),
        )
        return Picked(segment.index, mark, frame, taken)

    def _require_size(self, width: int, height: int) -> None:
        if width * height > self.max_pixels:
            raise TooLarge(self.uri, f"a frame of {width} x {height} is more than {self.max_pixels} pixels")
