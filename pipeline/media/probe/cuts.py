"""Where to cut a video into segments: pure arithmetic over its keyframes."""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from pipeline.media.probe.packet_index import Keyframe
from pipeline.media.sampling.footage import Footage
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import Segment, Sizing, TimeRange, Window

# After so many keyframes in a row without a safe cut, give up: each trial may read far.
_MAX_REFUSED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A keyframe where decoding can start, as a trial has shown."""

    seek_to: int | None
    key_pts: int | None
    num_before: int
    time: Fraction


START = Cut(seek_to=None, key_pts=None, num_before=0, time=Fraction(0))
"""The start of the file: the first cut of every video, and the only one of a video that is decoded in one pass."""


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
    cuts = [START]
    by_size = sizing.cost_s / footage.cost_per_frame_s
    if sizing.duration_s is not None:
        by_size = sizing.duration_s * footage.num_frames / float(max(footage.end_s, Fraction(1, 1000)))
    by_samples = sizing.max_samples * footage.num_frames / max(1, rule.estimate(footage, range(footage.num_frames)))
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


def segments_between(
    cuts: Sequence[Cut], *, footage: Footage, rule: SamplingRule, sizing: Sizing, time_range: TimeRange
) -> list[Segment]:
    """The segments from each cut to the next; where that holds too many samples, several that share their keyframe.

    Segments outside ``time_range`` are left out; the others keep their numbers.
    """
    divider = _Divider(footage, rule, time_range, max_samples=sizing.max_samples)
    segments: list[Segment] = []
    index = 0
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        end = footage.end_s if following is None else following.time
        num_frames = (footage.num_frames if following is None else following.num_before) - cut.num_before
        stretches = list(divider.stretches(cut, following))
        for stretch in stretches:
            if rule.may_reach(footage, stretch.window, time_range):
                segments.append(
                    Segment(
                        index=index,
                        seek_to=cut.seek_to,
                        key_pts=cut.key_pts,
                        window=stretch.window,
                        targets=stretch.targets,
                        start_s=float(cut.time if stretch.start is None else stretch.start),
                        end_s=float(end if stretch.end is None else stretch.end),
                        num_samples=stretch.num_samples,
                        cost_s=num_frames * footage.cost_per_frame_s / len(stretches),
                    )
                )
            index += 1
    return segments


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Part of what lies between two cuts; no ``start`` or ``end``: that of the cut."""

    window: Window
    targets: tuple[int, ...] | None
    num_samples: int
    start: Fraction | None
    end: Fraction | None


class _Divider:
    """Divides what lies between two cuts into stretches of at most ``max_samples`` samples."""

    def __init__(self, footage: Footage, rule: SamplingRule, time_range: TimeRange, *, max_samples: int) -> None:
        self._footage = footage
        self._rule = rule
        self._max_samples = max_samples
        targets = rule.targets(footage, time_range)
        self._is_listed = targets is not None
        self._places = rule.places(footage) if targets is None else targets
        # Of the places where a sample may lie, so many are expected to hold one.
        num_samples = rule.estimate(footage, range(footage.num_frames))
        self._share = min(Fraction(1), Fraction(num_samples, max(1, len(self._places or ()))))

    def stretches(self, cut: Cut, following: Cut | None) -> Iterator[_Stretch]:
        """At least one; they share the cut's keyframe."""
        footage, rule, places = self._footage, self._rule, self._places
        first = rule.first_place(footage, cut.key_pts)
        end = None if following is None else rule.first_place(footage, following.key_pts)
        if places is None:
            frames = range(cut.num_before, footage.num_frames if following is None else following.num_before)
            window, num_samples = Window(first=first, end=end), rule.estimate(footage, frames)
            yield _Stretch(window=window, targets=None, num_samples=num_samples, start=None, end=None)
            return
        low = bisect.bisect_left(places, first)
        high = len(places) if end is None else bisect.bisect_left(places, end)
        bounds = [*range(low, high, self._max_samples)] or [low]
        for at in bounds:
            until = min(at + self._max_samples, high)
            is_first, is_last = at == bounds[0], at == bounds[-1]
            yield _Stretch(
                window=Window(first=first if is_first else places[at], end=end if is_last else places[until]),
                targets=tuple(places[at:until]) if self._is_listed else None,
                num_samples=until - at if self._is_listed else math.ceil((until - at) * self._share),
                start=None if is_first else rule.time_of(footage, places[at]),
                end=None if is_last else rule.time_of(footage, places[until]),
            )
