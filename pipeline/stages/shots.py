"""From the network's predictions for the frames of a video to its shots."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.records.shots import Shot, Transition

_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedFrames:
    """The frames of a video in the order of (``epoch``, ``pts``), and what the network says of each."""

    epochs: NDArray[np.int32]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    ends: NDArray[np.float32]
    """The probability that a frame is the last one of a shot."""
    blends: NDArray[np.float32]
    """The probability that it is part of a transition."""
    time_base: Fraction
    end_s: float
    """When the last frame ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Boundary:
    place: int
    transition: Transition
    score: float | None


def shots_of(frames: PredictedFrames) -> list[Shot]:
    """The shots of a video, numbered from 0; each epoch begins one.

    A boundary is the frame after a run of frames that end a shot. It is gradual where the run of blended frames there
    is longer than one frame.
    """
    boundaries = [
        boundary
        for first, end in _runs(frames.epochs, np.ones(len(frames.epochs), np.bool_))
        for boundary in _boundaries(frames, first, end)
    ]
    following = [boundary.place for boundary in boundaries[1:]] + [len(frames.pts)]
    return [
        _shot(frames, number, boundary, end)
        for number, (boundary, end) in enumerate(zip(boundaries, following, strict=True))
    ]


def _boundaries(frames: PredictedFrames, first: int, end: int) -> Iterator[_Boundary]:
    yield _Boundary(place=first, transition="start", score=None)
    blended = list(_runs(np.zeros(end - first, np.int32), frames.blends[first:end] > _THRESHOLD))
    for begin, behind in _runs(np.zeros(end - first, np.int32), frames.ends[first:end] > _THRESHOLD):
        if begin == 0 or behind == end - first:  # what begins or ends the epoch ends no shot within it
            continue
        longest = max((stop - start for start, stop in blended if start < behind and stop > begin), default=0)
        yield _Boundary(
            place=first + behind,
            transition="gradual" if longest > 1 else "cut",
            score=float(frames.ends[first + begin : first + behind].max()),
        )


def _runs(groups: NDArray[np.int32], wanted: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """From where to where values that are wanted follow each other within a group."""
    begin: int | None = None
    for place in range(len(wanted)):
        if begin is not None and (not wanted[place] or groups[place] != groups[begin]):
            yield begin, place
            begin = None
        if begin is None and wanted[place]:
            begin = place
    if begin is not None:
        yield begin, len(wanted)


def _shot(frames: PredictedFrames, number: int, boundary: _Boundary, end: int) -> Shot:
    place, last = boundary.place, end - 1
    is_last = end == len(frames.pts)
    end_s = frames.end_s if is_last else float(frames.times_s[end])
    if is_last or frames.epochs[end] != frames.epochs[last]:
        length_s = Fraction(end_s) - Fraction(float(frames.times_s[last]))
        end_pts = int(frames.pts[last]) + max(1, round(length_s / frames.time_base))
    else:
        end_pts = int(frames.pts[end])
    return Shot(
        epoch=int(frames.epochs[place]),
        shot=number,
        start_pts=int(frames.pts[place]),
        end_pts=end_pts,
        start_s=float(frames.times_s[place]),
        end_s=end_s,
        num_frames=end - place,
        transition=boundary.transition,
        score=boundary.score,
    )
