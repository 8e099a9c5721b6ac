"""Decode no more than the samples of a segment need; pixels equal those of a sequential decode."""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pipeline.media.clock import Clock
from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.packets import PacketReader, Undecodable
from pipeline.media.sampling.pickers import Tick
from pipeline.media.sampling.succession import Taken
from pipeline.records.segments import Segment

# Decoders reorder by at most 16 pictures; with twice that read ahead, nothing that is shown earlier can still come.
_LOOKAHEAD_PACKETS = 32
# Packets are held until a sample needs them; where they grow beyond this, they are decoded instead.
_MAX_WAITING_BYTES = 32 << 20


class SparseFailed(Exception):
    """The frames are not those that the packets promise.

    ``is_structural``: the stream is built so, and other segments will fail alike; otherwise a place is damaged.
    """

    def __init__(self, *, is_structural: bool) -> None:
        super().__init__(is_structural)
        self.is_structural = is_structural


@dataclass(frozen=True, slots=True)
class _Sample:
    segment: Segment
    tick: Tick
    taken: Taken


@dataclass(frozen=True, slots=True)
class _Step:
    """A packet to decode or to skip; ``sample`` is set where its picture is one."""

    packet: "Packet[VideoStream]"
    pts: int
    sample: "_Sample | None"
    is_lesson: bool
    """Whether it teaches the decoder something, so that it is decoded even where no sample needs it."""
    precedes_earlier_sample: bool
    """Whether a sample that is shown earlier is decoded later: a leading picture of an open GOP."""


def decode_sparse(video: OpenVideo, segments: Sequence[Segment]) -> Iterator[Picked | Segment]:
    """One pass over consecutive segments that share a start keyframe.

    Packets are marked before they are decoded. Pictures that are neither samples nor references are skipped
    (``skip_frame``), and the tail of a GOP behind its last sample is not decoded at all.

    Yields:
        The samples of the first segment in presentation order, and the segment itself, which ends it; then those of
        the next.

    Raises:
        SparseFailed: a place is damaged, or the stream does not keep to its own pts. The caller decodes every packet
            of the segments that have not ended.
    """
    reader = video.rewind(segments[0])
    samples = _Samples(video)
    left = deque(segments)
    try:
        for picked in _feed(_steps(video, reader, segments), samples):
            while left[0].index < picked.segment:
                yield left.popleft()
            yield picked
    except Undecodable:
        raise SparseFailed(is_structural=False) from None
    if reader.damage is not None:
        raise SparseFailed(is_structural=False)
    if samples.expected:
        raise SparseFailed(is_structural=True)
    yield from left


def _steps(video: OpenVideo, reader: PacketReader, segments: Sequence[Segment]) -> Iterator[_Step]:
    marker = _Marker(video, segments)
    for packet in reader:
        if packet.pts is None:
            raise SparseFailed(is_structural=True)
        marker.read(packet, is_lesson=reader.lesson.is_new)
        if marker.num_ahead > _LOOKAHEAD_PACKETS:
            yield marker.next_step()
        if marker.is_finished:
            return
    while marker.num_ahead and not marker.is_finished:
        yield marker.next_step()


class _Marker:
    """Decides which packets hold samples, once all that is shown before them has been read."""

    def __init__(self, video: OpenVideo, segments: Sequence[Segment]) -> None:
        self._segments = segments
        self._pickers = video.pickers(segments)
        self._clock = Clock(video.facts)
        # What is shown before the first keyframe belongs to the segment before this one, or does not decode.
        first_pts = video.facts.origin_pts if segments[0].key_pts is None else segments[0].key_pts
        self._first_pts = first_pts or 0
        self._ahead: deque[tuple[Packet[VideoStream], bool]] = deque()
        self._undecided: list[tuple[int, bool]] = []
        self._samples: dict[int, _Sample] = {}

    @property
    def num_ahead(self) -> int:
        return len(self._ahead)

    @property
    def is_finished(self) -> bool:
        """Whether no packet from here on can hold a sample."""
        return self._pickers.is_finished and not self._samples

    def read(self, packet: "Packet[VideoStream]", *, is_lesson: bool) -> None:
        self._ahead.append((packet, is_lesson))
        pts = packet.pts or 0
        if pts >= self._first_pts and not packet.is_discard:
            heapq.heappush(self._undecided, (pts, packet.is_keyframe))

    def next_step(self) -> _Step:
        packet, is_lesson = self._ahead.popleft()
        pts = packet.pts or 0
        self._settle(pts)
        sample = None if packet.is_discard else self._samples.pop(pts, None)
        precedes = packet.is_keyframe and any(earlier < pts for earlier in self._samples)
        return _Step(packet, pts, sample, is_lesson, precedes)

    def _settle(self, until_pts: int) -> None:
        while self._undecided and self._undecided[0][0] <= until_pts and not self._pickers.is_finished:
            pts, is_keyframe = heapq.heappop(self._undecided)
            tick, epoch, _ = self._clock.stamp(pts=pts, duration=0, is_keyframe=is_keyframe)
            taken = self._pickers.offer(tick, epoch=epoch)
            if taken is not None:
                self._samples[pts] = _Sample(self._segments[taken.first], tick, taken)


def _feed(steps: Iterator[_Step], samples: "_Samples") -> Iterator[Picked]:
    waiting: list[_Step] = []
    waiting_bytes = 0
    gop_pts: int | None = None  # of the keyframe with which the decoder last started afresh
    for step in steps:
        if step.packet.is_keyframe and not step.precedes_earlier_sample:
            yield from samples.drain()
            waiting, waiting_bytes, gop_pts = [], 0, step.pts
            samples.expect_keyframe(None if step.packet.is_discard else step.pts)
        elif gop_pts is not None and step.pts < gop_pts:
            if step.is_lesson:
                raise SparseFailed(is_structural=True)
            continue  # refers to the GOP before, which was not decoded to its end
        waiting.append(step)
        waiting_bytes += step.packet.size
        if step.sample is not None or step.is_lesson or waiting_bytes > _MAX_WAITING_BYTES:
            for held in waiting:
                yield from samples.feed(held)
            waiting, waiting_bytes = [], 0
    yield from samples.drain()


class _Samples:
    """Feeds the decoder and picks what was marked out of what it gives."""

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self._keyframe_pts: int | None = None
        self._is_fed = False
        self.expected: dict[int, _Sample] = {}

    def expect_keyframe(self, pts: int | None) -> None:
        """The next frame must be the keyframe at ``pts``: who starts afresh there proves that one can."""
        self._keyframe_pts = pts

    def feed(self, step: _Step) -> Iterator[Picked]:
        if step.sample is not None:
            self.expected[step.pts] = step.sample
        self._video.codec.skip_frame = "DEFAULT" if step.sample is not None or step.is_lesson else "NONREF"
        self._is_fed = True
        yield from self._pick(self._video.decode(step.packet))

    def drain(self) -> Iterator[Picked]:
        """Get what the decoder still holds, and leave it as new."""
        if self._is_fed:
            self._video.codec.skip_frame = "DEFAULT"
            yield from self._pick(self._video.decode(None))
            self._video.codec.flush_buffers()
            self._is_fed = False

    def _pick(self, frames: Sequence[VideoFrame]) -> Iterator[Picked]:
        for frame in frames:
            if frame.is_corrupt or frame.pts is None:
                raise SparseFailed(is_structural=False)
            if self._keyframe_pts is not None:
                if frame.pts != self._keyframe_pts or not frame.key_frame:
                    raise SparseFailed(is_structural=True)
                self._keyframe_pts = None
            sample = self.expected.pop(frame.pts, None)
            if sample is not None:
                yield self._video.picked(
                    sample.segment, frame, taken=sample.taken, tick=sample.tick, epoch=0, pts=frame.pts
                )
