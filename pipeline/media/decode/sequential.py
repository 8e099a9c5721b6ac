"""Decode every packet in order: for streams whose pts say little, and for damaged ones."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain

from av.video.frame import VideoFrame

from pipeline.errors import Corrupt
from pipeline.media.clock import Clock
from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.packets import PacketReader, Undecodable
from pipeline.records.segments import Quarantined, Segment


def decode_plain(video: OpenVideo, segments: Sequence[Segment]) -> Iterator[Picked | Quarantined | Segment]:
    """One pass over consecutive segments that share a start keyframe, on past what does not decode.

    Yields:
        The samples of the first segment in presentation order, the failure that it met if any, and the segment
        itself, which ends it; then those of the next.
    """
    video.codec.skip_frame = "DEFAULT"
    reader = video.rewind(segments[0])
    damage = _Damage(video.uri)
    clock = Clock(video.facts)
    pickers = video.pickers(segments)
    num_ended = 0
    for frame in _frames(video, reader, damage):
        if _precedes(frame, segments[0], is_sequential=video.facts.is_sequential):
            continue
        tick, epoch, pts = clock.stamp(pts=frame.pts, duration=frame.duration, is_keyframe=bool(frame.key_frame))
        damage.saw(tick.time)
        taken = pickers.offer(tick, epoch=epoch)
        if taken is not None:
            yield from _ends(segments[num_ended : taken.first], damage)
            num_ended = taken.first
            damage.begin(segments[taken.first + taken.count - 1])
            yield video.picked(segments[taken.first], frame, taken=taken, tick=tick, epoch=epoch, pts=pts)
        if pickers.is_finished:
            break
    yield from _ends(segments[num_ended:], damage)


def _ends(segments: Sequence[Segment], damage: "_Damage") -> Iterator[Quarantined | Segment]:
    for segment in segments:
        yield from damage.settle(segment)
        yield segment


def _precedes(frame: VideoFrame, segment: Segment, *, is_sequential: bool) -> bool:
    """Whether the frame is shown before the start keyframe: it belongs to the segment before."""
    if is_sequential or segment.key_pts is None or frame.pts is None:
        return False
    return frame.pts < segment.key_pts


class _Damage:
    """Where a pass stopped making sense and where it went on."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._last_good = Fraction(0)
        self._has_frames = False
        self._first: tuple[Fraction, str] | None = None
        self._last_begun = -1

    def begin(self, segment: Segment) -> None:
        """The segment has a sample: from here on, damage may be of it, whichever ends first."""
        self._last_begun = max(segment.index, self._last_begun)

    def saw(self, time: Fraction) -> None:
        self._has_frames = True
        self._last_good = max(time, self._last_good)

    def hit(self, detail: str) -> None:
        if self._first is None:
            self._first = (self._last_good, detail)

    def settle(self, segment: Segment) -> Iterator[Quarantined]:
        """The failure of ``segment``, where damage was met since the last call."""
        if self._first is not None:
            start, detail = self._first
            missing_start_s = max(float(start), segment.start_s) if self._has_frames else None
            yield Quarantined.of(Corrupt(self._uri, detail), segment=segment, missing_start_s=missing_start_s)
        if self._last_begun <= segment.index:
            self._first = None


def _frames(video: OpenVideo, reader: PacketReader, damage: _Damage) -> Iterator[VideoFrame]:
    # Before the first keyframe there is nothing to decode from: a recording that was joined late.
    is_joined = False
    has_frames = False
    complaint = "nothing in it decodes"
    for packet in chain(reader, [None]):
        is_joined = is_joined or has_frames or (packet is not None and packet.is_keyframe)
        try:
            frames = video.decode(packet)
        except Undecodable as error:
            complaint = str(error)
            if is_joined:
                damage.hit(complaint)
            continue
        if packet is None and reader.damage is not None:
            damage.hit(reader.damage)
        has_frames = has_frames or bool(frames)
        yield from frames
    if not has_frames:
        damage.hit(complaint)
