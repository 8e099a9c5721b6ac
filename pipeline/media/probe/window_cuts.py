"""Segments of videos whose samples form windows: each owns the windows that begin in it, and reads on for them."""

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.media.probe.cuts import Cut
from pipeline.media.sampling.footage import Footage
from pipeline.records.segments import Segment, Window
from pipeline.records.windows import Windows


def segments_of_windows(
    cuts: Sequence[Cut], *, footage: Footage, samples: Sequence[int], windows: Windows, max_samples: int
) -> list[Segment]:
    """The segments from each cut to the next, with the samples of all windows that begin there.

    What a segment reads past its end is part of its cost. Segments in which no window begins are left out; the others
    keep their numbers. The axis of their ``window`` counts samples.

    Args:
        cuts: where decoding can start.
        footage: the video.
        samples: the positions of all samples, increasing.
        windows: how they form windows.
        max_samples: how many samples may begin windows of one segment.
    """
    num_windows = windows.count(len(samples))
    segments: list[Segment] = []
    for index, (cut, owned, start_s, end_s, num_frames) in enumerate(
        _stretches(cuts, footage=footage, samples=samples, max_samples=max_samples)
    ):
        begin, until = windows.first_from(owned.start), min(windows.first_from(owned.stop), num_windows)
        if begin >= until:
            continue
        ordinals = windows.ordinals(range(begin, until), num_samples=len(samples))
        targets = tuple(samples[ordinal] for ordinal in ordinals)
        end = samples[owned.stop] if owned.stop < len(samples) else targets[-1]
        num_ahead = bisect.bisect_left(footage.positions, targets[-1]) - bisect.bisect_left(footage.positions, end)
        segments.append(
            Segment(
                index=index,
                seek_to=cut.seek_to,
                key_pts=cut.key_pts,
                window=Window(first=owned.start, end=owned.stop),
                targets=targets,
                start_s=start_s,
                end_s=end_s,
                num_samples=windows.num_rows(range(begin, until), num_samples=len(samples)),
                cost_s=(num_frames + max(0, num_ahead)) * footage.cost_per_frame_s,
            )
        )
    return segments


def counted_by_windows(segments: Sequence[Segment], *, windows: Windows) -> list[Segment]:
    """Segments of a video whose samples only decoding tells: planned for samples, they give rows."""
    if windows.keeps_samples:
        return list(segments)
    return [replace(each, num_samples=math.ceil(each.num_samples / windows.stride)) for each in segments]


def _stretches(
    cuts: Sequence[Cut], *, footage: Footage, samples: Sequence[int], max_samples: int
) -> Iterator[tuple[Cut, range, float, float, float]]:
    """Between the cuts: the samples of at most ``max_samples`` at a time, from when to when, and frames to decode."""
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        low = 0 if cut.key_pts is None else bisect.bisect_left(samples, cut.key_pts)
        next_pts = None if following is None else following.key_pts
        high = len(samples) if next_pts is None else bisect.bisect_left(samples, next_pts)
        end = footage.end_s if following is None else following.time
        num_frames = (footage.num_frames if following is None else following.num_before) - cut.num_before
        bounds = [*range(low, high, max_samples)] or [low]
        for at in bounds:
            until = min(at + max_samples, high)
            start_s = float(cut.time if at == low else footage.time_of(samples[at]))
            end_s = float(end if until == high else footage.time_of(samples[until]))
            yield cut, range(at, until), start_s, end_s, num_frames / len(bounds)
