"""What gets one label and one prediction: a frame, a window of time, or a whole video."""

import itertools
import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSamples:
    """When the samples of one video are shown, in the order of (``epoch``, ``pts``)."""

    epochs: NDArray[np.int32]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    end_s: float | None
    """Where the video ends, on the axis of ``times_s``; ``None``: it is not known."""

    def __post_init__(self) -> None:
        if not len(self.epochs) == len(self.pts) == len(self.times_s):
            raise ValueError("every sample has an epoch, a pts and a time")

    def __len__(self) -> int:
        return len(self.pts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """The units of one video: unit k takes its samples ``begin[k]`` to ``end[k] - 1``, and at least one."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    time_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.begin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """``frame``, ``video``, or with both lengths a window: the samples of [k ``step_s``, k ``step_s`` + ``length_s``).

    A window lies within one epoch.
    """

    kind: str
    length_s: float = 0.0
    step_s: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``frame``, ``video``, ``window:S`` or ``window:S/STEP``, in seconds.

        Raises:
            UsageError: it is none of these.
        """
        if text in ("frame", "video"):
            return cls(kind=text)
        kind, _, lengths = text.partition(":")
        length, slash, step = lengths.partition("/")
        try:
            length_s = float(length)
            step_s = float(step) if slash else length_s
        except ValueError:
            length_s = step_s = math.nan
        if kind != "window" or not (0 < length_s < math.inf and 0 < step_s < math.inf):
            raise UsageError(f"bad unit {text!r}: use frame, video, window:SECONDS or window:SECONDS/STEP")
        return cls(kind=kind, length_s=length_s, step_s=step_s)

    def __str__(self) -> str:
        if self.kind != "window":
            return self.kind
        step = "" if self.step_s == self.length_s else f"/{self.step_s:g}"
        return f"window:{self.length_s:g}{step}"

    @property
    def is_frame(self) -> bool:
        """Whether each sample is a unit of its own."""
        return self.kind == "frame"

    def of(self, samples: VideoSamples) -> Units:
        """The units of a video, in the order of their first samples."""
        if self.kind == "frame":
            return _frames(samples)
        if self.kind == "video":
            return _whole(samples)
        parts = [_windows(samples, first, end, self) for first, end in _epochs(samples)]
        return Units(
            begin=np.concatenate([part.begin for part in parts] or [np.empty(0, np.int64)]),
            end=np.concatenate([part.end for part in parts] or [np.empty(0, np.int64)]),
            time_s=np.concatenate([part.time_s for part in parts] or [np.empty(0)]),
            end_s=np.concatenate([part.end_s for part in parts] or [np.empty(0)]),
        )


def _frames(samples: VideoSamples) -> Units:
    """A frame ends where the next one begins, and the last one where the video ends."""
    at = np.arange(len(samples), dtype=np.int64)
    ends = np.append(samples.times_s[1:], _end_of(samples)) if len(samples) else np.empty(0)
    return Units(begin=at, end=at + 1, time_s=samples.times_s, end_s=ends)


def _whole(samples: VideoSamples) -> Units:
    num = min(1, len(samples))
    return Units(
        begin=np.zeros(num, np.int64),
        end=np.full(num, len(samples), np.int64),
        time_s=samples.times_s[:num],
        end_s=np.full(num, _end_of(samples) if num else 0.0),
    )


def _windows(samples: VideoSamples, first: int, end: int, unit: Unit) -> Units:
    times = samples.times_s[first:end]
    earliest = max(min(0, math.floor(times[0] / unit.step_s)), math.floor((times[0] - unit.length_s) / unit.step_s))
    latest = math.floor(times[-1] / unit.step_s)
    # Edges are products and not sums, so that the k-th does not drift.
    starts = np.arange(earliest, latest + 2, dtype=np.float64) * unit.step_s
    ends = starts + unit.length_s
    begin, stop = np.searchsorted(times, starts), np.searchsorted(times, ends)
    has_samples = stop > begin
    return Units(
        begin=(first + begin)[has_samples],
        end=(first + stop)[has_samples],
        time_s=starts[has_samples],
        end_s=ends[has_samples],
    )


def _epochs(samples: VideoSamples) -> list[tuple[int, int]]:
    if not len(samples):
        return []
    edges = [0, *(np.flatnonzero(np.diff(samples.epochs)) + 1).tolist(), len(samples)]
    return list(itertools.pairwise(edges))


def _end_of(samples: VideoSamples) -> float:
    """The video's end; where it is not known, the last sample lasts as long as the one before it."""
    times = samples.times_s
    if samples.end_s is not None and samples.end_s > times[-1]:
        return samples.end_s
    return float(times[-1] + max(0.0, times[-1] - times[-2])) if len(times) > 1 else float(times[-1])
