"""Where to cut a video into segments: pure arithmetic over its keyframes."""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.media.probe.packet_index import Keyframe, Keyframes
from pipeline.media.sampling import SamplingRule, first_slot_from, uniform_targets
from pipeline.records.segments import MAX_SAMPLES, Segment, TimeRange, Window

# Where the demuxer finds none of so many keyframes in a row, it finds none: reading on for each would take for ever.
_MAX_REFUSED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How large a segment should become."""

    max_samples: int = MAX_SAMPLES
    duration_s: float | None = None
    """Target length; ``None``: cut by ``cost_s``."""
    cost_s: float = 8.0
    """Target decoding time, on one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """What cutting needs to know of a video.

    ``positions`` are every frame's pts in presentation order, or empty where only the header's index was read;
    ``slots`` those of ``fps:R`` that about hold a frame; ``end_s`` is where it ends, in seconds from the first frame.
    """

    num_frames: int
    num_keyframes: int
    origin_pts: int
    time_base: Fraction
    end_s: Fraction
    positions: Sequence[int]
    slots: Sequence[int]
    cost_per_frame_s: float

    def time_of(self, pts: int) -> Fraction:
        """Seconds from the first frame."""
        return (pts - self.origin_pts) * self.time_base

    def first_pts_from(self, time: Fraction) -> int:
        """The first pts at or after ``time``."""
        return self.origin_pts + math.ceil(time / self.time_base)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A keyframe that decoding can start with: proved by doing so."""

    seek_to: int | None
    key_pts: int | None
    num_before: int
    time: Fraction


def choose_cuts(
    keyframes: Sequence[Keyframe],
    *,
    footage: Footage,
    rule: SamplingRule,
    sizing: Sizing,
    prove: Callable[[Keyframe], Cut | None],
) -> list[Cut]:
    """Cuts that make segments of about equal cost, the file's start first.

    Args:
        keyframes: the candidates, in decoding order.
        footage: the video.
        rule: what is sampled of it.
        sizing: how large a segment should become.
        prove: seeks to a keyframe and decodes it; ``None`` where one cannot start there.
    """
    cuts = [Cut(seek_to=None, key_pts=None, num_before=0, time=Fraction(0))]
    by_size = sizing.cost_s / footage.cost_per_frame_s
    if sizing.duration_s is not None:
        by_size = sizing.duration_s * footage.num_frames / float(max(footage.end_s, Fraction(1, 1000)))
    by_samples = sizing.max_samples * footage.num_frames / max(1, _num_samples(footage, rule))
    limit = max(1.0, min(by_samples, by_size))
    num_refused = 0
    for place, keyframe in enumerate(keyframes):
        num_since = keyframe.num_before - cuts[-1].num_before
        is_last = place + 1 == len(keyframes)
        gop_end = footage.num_frames if is_last else keyframes[place + 1].num_before
        if num_since <= 0 or (num_since < by_size and gop_end - cuts[-1].num_before <= limit):
            continue
        cut = prove(keyframe)
        if cut is not None and cut.time > cuts[-1].time:
            cuts.append(cut)
        num_refused = num_refused + 1 if cut is None else 0
        if num_refused == _MAX_REFUSED:
            break
    return cuts


def _num_samples(footage: Footage, rule: SamplingRule) -> int:
    """Samples of the whole video, about."""
    if rule.kind == "fps":
        return len(footage.slots)
    if rule.kind == "keyframes":
        return footage.num_keyframes
    if rule.kind == "uniform":
        return min(int(rule.number), footage.num_frames)
    return math.ceil(footage.num_frames / rule.number)


def segments_between(
    cuts: Sequence[Cut],
    keyframes: Keyframes,
    *,
    footage: Footage,
    rule: SamplingRule,
    sizing: Sizing,
    time_range: TimeRange,
) -> list[Segment]:
    """The segments from each cut to the next; where that holds too many samples, several that share their keyframe.

    Segments outside ``time_range`` are left out; the others keep their numbers.
    """
    targets = _chosen(footage, rule, time_range)
    places = footage.positions if targets is None else targets
    if rule.kind == "keyframes":
        places = keyframes.ordered_pts()
    segments: list[Segment] = []
    index = 0
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        end = footage.end_s if following is None else following.time
        num_frames = (footage.num_frames if following is None else following.num_before) - cut.num_before
        if rule.kind == "fps":
            stretches = list(_slot_stretches(cut, following, footage, rule.number, sizing.max_samples))
        elif places:
            stretches = list(
                _stretches(cut, following, footage, places, sizing.max_samples, is_listed=targets is not None)
            )
        else:
            stretches = [_keyframe_stretch(cut, following, footage, keyframes)]
        for stretch in stretches:
            start_s = stretch.start if stretch.start is not None else cut.time
            end_s = stretch.end if stretch.end is not None else end
            if time_range.overlaps(start=start_s, end=end_s if following or stretch is not stretches[-1] else None):
                segments.append(
                    Segment(
                        index=index,
                        seek_to=cut.seek_to,
                        key_pts=cut.key_pts,
                        window=stretch.window,
                        targets=stretch.targets,
                        start_s=float(start_s),
                        end_s=float(end_s),
                        num_samples=stretch.num_samples,
                        cost_s=num_frames * footage.cost_per_frame_s / len(stretches),
                    )
                )
            index += 1
    return segments


def sequential_segments(
    *, footage: Footage, frame_rate_hz: Fraction, rule: SamplingRule, sizing: Sizing, time_range: TimeRange
) -> list[Segment]:
    """Segments of a video that is decoded in one pass, its frames counted: at most ``max_samples`` each."""
    targets: list[int] | None = None
    if rule.kind == "fps":
        num_places, step = first_slot_from(footage.end_s, rate_hz=rule.number), sizing.max_samples
    else:
        num_places = footage.num_frames
        step = sizing.max_samples * (int(rule.number) if rule.kind == "every" else 1)
    if rule.kind == "uniform":
        targets = uniform_targets(range(num_places), count=int(rule.number))
        step = num_places if len(targets) <= sizing.max_samples else step
    firsts = list(range(0, max(1, num_places), max(1, step)))
    place_s = 1 / rule.number if rule.kind == "fps" else 1 / frame_rate_hz
    segments = []
    samples_each = math.ceil(_num_samples(footage, rule) / len(firsts))
    for index, first in enumerate(firsts):
        is_last = index + 1 == len(firsts)
        end = first + step
        own = None if targets is None else tuple(t for t in targets if first <= t < end)
        start_s, end_s = first * place_s, footage.end_s if is_last else end * place_s
        if not time_range.overlaps(start=start_s, end=None if is_last else end_s):
            continue
        segments.append(
            Segment(
                index=index,
                seek_to=None,
                key_pts=None,
                window=Window(first=first, end=None if is_last else end),
                targets=own,
                start_s=float(start_s),
                end_s=float(end_s),
                num_samples=samples_each if own is None else len(own),
                cost_s=footage.num_frames * footage.cost_per_frame_s / len(firsts),
            )
        )
    return segments


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Part of what lies between two cuts; no ``start`` or ``end``: that of the cut."""

    window: Window
    targets: tuple[int, ...] | None = None
    num_samples: int
    start: Fraction | None = None
    end: Fraction | None = None


def _first_position(cut: Cut, footage: Footage) -> int:
    return cut.key_pts if cut.key_pts is not None else min([footage.origin_pts, *footage.positions[:1]])


def _keyframe_stretch(cut: Cut, following: Cut | None, footage: Footage, keyframes: Keyframes) -> _Stretch:
    """Keyframes that the header's index only counts."""
    end = footage.num_frames if following is None else following.num_before
    window = Window(first=_first_position(cut, footage), end=None if following is None else following.key_pts)
    return _Stretch(window=window, num_samples=keyframes.num_between(cut.num_before, end))


def _stretches(
    cut: Cut, following: Cut | None, footage: Footage, places: Sequence[int], max_samples: int, *, is_listed: bool
) -> Iterator[_Stretch]:
    """Samples at known ``places``; ``is_listed``: they are the rule's own choice and go into the plan one by one."""
    first = _first_position(cut, footage)
    end = None if following is None else following.key_pts
    low = bisect.bisect_left(places, first)
    high = len(places) if end is None else bisect.bisect_left(places, end)
    bounds = [*range(low, high, max_samples)] or [low]
    for at in bounds:
        until = min(at + max_samples, high)
        is_first, is_last = at == bounds[0], at == bounds[-1]
        yield _Stretch(
            window=Window(first=first if is_first else places[at], end=end if is_last else places[until]),
            targets=tuple(places[at:until]) if is_listed else None,
            num_samples=until - at,
            start=None if is_first else footage.time_of(places[at]),
            end=None if is_last else footage.time_of(places[until]),
        )


def _slot_stretches(
    cut: Cut, following: Cut | None, footage: Footage, rate_hz: Fraction, max_samples: int
) -> Iterator[_Stretch]:
    first = first_slot_from(cut.time, rate_hz=rate_hz)
    end = None if following is None else first_slot_from(following.time, rate_hz=rate_hz)
    low = bisect.bisect_left(footage.slots, first)
    high = len(footage.slots) if end is None else bisect.bisect_left(footage.slots, end)
    bounds = [first, *footage.slots[low + max_samples : high : max_samples]]
    for place, at in enumerate(bounds):
        is_last = place + 1 == len(bounds)
        until = end if is_last else bounds[place + 1]
        yield _Stretch(
            window=Window(first=at, end=until),
            num_samples=max(0, min(max_samples, high - low - place * max_samples)),
            start=None if place == 0 else at / rate_hz,
            end=None if is_last else bounds[place + 1] / rate_hz,
        )


def _chosen(footage: Footage, rule: SamplingRule, time_range: TimeRange) -> Sequence[int] | None:
    """The positions of ``every`` and ``uniform``; the latter spreads over the asked range alone."""
    positions = footage.positions
    if rule.kind == "every":
        return positions[:: int(rule.number)]
    if rule.kind != "uniform":
        return None
    start, end = time_range.start, time_range.end
    low = 0 if start is None else bisect.bisect_left(positions, footage.first_pts_from(start))
    high = len(positions) if end is None else bisect.bisect_left(positions, footage.first_pts_from(end))
    return uniform_targets(positions[low:high], count=int(rule.number))
