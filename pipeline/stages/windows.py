"""From the samples of a segment to its windows, and from windows to what a model of clips takes."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.records.segments import FrameMark
from pipeline.records.windows import Clip, Windows


def clips_in(
    marks: Sequence[FrameMark],
    ordinals: Sequence[int],
    beginnings: Sequence[int],
    *,
    windows: Windows,
    may_fill_up: bool,
) -> tuple[Clip, ...]:
    """The windows among the samples of a segment.

    Args:
        marks: of the samples, in presentation order; they may reach past the segment's end.
        ordinals: which sample of its epoch each is.
        beginnings: the places of the samples that a window of this segment begins with.
        windows: how samples form windows.
        may_fill_up: whether an epoch that seems shorter than a window is; otherwise samples were lost.
    """
    return tuple(
        clip
        for place in beginnings
        if (clip := _clip_at(place, marks, ordinals, windows=windows, may_fill_up=may_fill_up)) is not None
    )


def _clip_at(
    place: int, marks: Sequence[FrameMark], ordinals: Sequence[int], *, windows: Windows, may_fill_up: bool
) -> Clip | None:
    ordinal = ordinals[place]
    window = windows.first_from(ordinal)
    end = windows.end(window)
    stop = place + 1
    while stop < len(marks) and ordinals[stop] < end and _follows(marks, ordinals, stop):
        stop += 1
    clip = Clip(first=place - ordinal + end - windows.length, begin=place, end=stop)
    if windows.keeps_samples:
        return clip if clip.kept(windows) else None
    is_full = ordinals[stop - 1] == end - 1
    return clip if is_full or (window == 0 and may_fill_up) else None


def _follows(marks: Sequence[FrameMark], ordinals: Sequence[int], place: int) -> bool:
    """Whether a sample is the next one of its epoch after the one before it."""
    return ordinals[place] == ordinals[place - 1] + 1 and marks[place].epoch == marks[place - 1].epoch


def clip_inputs(pixels: NDArray[np.uint8], clips: Sequence[Clip], *, length: int) -> list[NDArray[np.uint8]]:
    """The clips of a segment, in order, as arrays ``uint8[n_i, N, H, W, 3]``.

    Whole clips at even distances are views of ``pixels``, ``uint8[T, H, W, 3]``: nothing is copied before the model's
    own batch.
    """
    return [_together(pixels, run, length=length) for run in _even_runs(clips, length=length)]


def _together(pixels: NDArray[np.uint8], run: Sequence[Clip], *, length: int) -> NDArray[np.uint8]:
    if not _is_whole(run[0], length):
        return pixels[run[0].places(length)][None]
    step = run[1].begin - run[0].begin if len(run) > 1 else 1
    windows = np.lib.stride_tricks.sliding_window_view(pixels, length, axis=0)[run[0].begin : run[-1].begin + 1 : step]
    return np.moveaxis(windows, -1, 1)


def _even_runs(clips: Sequence[Clip], *, length: int) -> Iterator[list[Clip]]:
    run: list[Clip] = []
    for clip in clips:
        is_even = len(run) < 2 or clip.begin - run[-1].begin == run[1].begin - run[0].begin
        if run and not (is_even and _is_whole(clip, length) and _is_whole(run[0], length)):
            yield run
            run = []
        run.append(clip)
    if run:
        yield run


def _is_whole(clip: Clip, length: int) -> bool:
    return clip.first == clip.begin and clip.end - clip.begin == length


def kept_rows(
    features: NDArray[np.float32], clips: Sequence[Sequence[Clip]], *, windows: Windows
) -> NDArray[np.float32]:
    """The rows of the samples that windows keep results for, ``float32[sum T, D]``.

    Args:
        features: of all windows, ``float32[sum windows, stride * D]``: each gives ``stride`` rows.
        clips: the windows of each segment.
        windows: how samples form windows.
    """
    by_window = features.reshape(len(features), windows.stride, -1)
    each = (clip for segment in clips for clip in segment)
    parts = [
        rows[kept.start - clip.first - windows.lead : kept.stop - clip.first - windows.lead]
        for rows, clip in zip(by_window, each, strict=True)
        for kept in [clip.kept(windows)]
    ]
    return np.concatenate([by_window[:0].reshape(0, by_window.shape[2]), *parts])
