"""Decode the samples of segments (runs in the decoder process).

Two ways, with the same result on a sound video: ``sparse`` decodes only what the samples need; ``plain`` decodes every
packet, for streams whose pts cannot be trusted and as the second try where the sparse way met damage.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import InputError, Truncated
from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.decode.selective import SparseFailed, decode_sparse
from pipeline.media.decode.sequential import decode_plain
from pipeline.records.segments import KEEPING_ROWS, Quarantined, Segment


@dataclass(frozen=True, slots=True)
class Restarted:
    """What was picked of a segment so far does not count."""

    segment: int


@dataclass(frozen=True, slots=True)
class Finished:
    """No more samples of a segment come."""

    segment: int
    failure: Quarantined | None


Event = Picked | Restarted | Finished


def decode_segments(video: OpenVideo, segments: Sequence[Segment]) -> Iterator[Event]:
    """Decode consecutive segments; those that share a start keyframe in one pass.

    Yields:
        ``Picked`` samples of a segment in presentation order, then its ``Finished``; a failure that keeps no rows
        comes with a ``Restarted`` before it.
    """
    is_sparse = not video.facts.is_sequential
    for together in _passes(segments):
        left = list(together)
        try:
            if is_sparse:
                yield from _run(video, decode_sparse(video, together), left)
        except SparseFailed as failure:
            is_sparse = is_sparse and not failure.is_structural
            yield from (Restarted(segment.index) for segment in left)
        except InputError as error:
            yield from _lost(left, error)
            left.clear()
        if left:
            yield from _plainly(video, left)


def _passes(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    together: list[Segment] = []
    for segment in segments:
        if together and (together[-1].index + 1, together[-1].key_pts) != (segment.index, segment.key_pts):
            yield together
            together = []
        together.append(segment)
    if together:
        yield together


def _plainly(video: OpenVideo, segments: Sequence[Segment]) -> Iterator[Event]:
    left = list(segments)
    try:
        yield from _run(video, decode_plain(video, segments), left)
    except InputError as error:
        yield from _lost(left, error)


def _lost(segments: Sequence[Segment], error: InputError) -> Iterator[Event]:
    for segment in segments:
        if error.reason not in KEEPING_ROWS:
            yield Restarted(segment.index)
        yield Finished(segment.index, Quarantined.of(error, segment=segment))


def _run(video: OpenVideo, results: Iterator[Picked | Quarantined | Segment], left: list[Segment]) -> Iterator[Event]:
    """The events of one pass; each segment is taken out of ``left`` when it is finished."""
    failure: Quarantined | None = None
    for item in results:
        if isinstance(item, Picked):
            yield item
        elif isinstance(item, Quarantined):
            failure = item
        else:
            left.remove(item)
            yield Finished(item.index, _truncation(video, item, failure) or failure)
            failure = None


def _truncation(video: OpenVideo, segment: Segment, damage: Quarantined | None) -> Quarantined | None:
    """What a truncated video lacks: from its end, or from where it stopped decoding: its last packet is often cut."""
    if segment.missing_start_s is None:
        return None
    detail = f"ends at {segment.missing_start_s:.3f} s of {segment.end_s:.3f} s"
    missing_start_s = segment.missing_start_s
    if damage is not None and damage.missing_start_s is not None:
        missing_start_s = min(missing_start_s, damage.missing_start_s)
    return Quarantined.of(Truncated(video.uri, detail), segment=segment, missing_start_s=missing_start_s)
