"""The values that pass between stages, free of Arrow, torch and av (their columns: ``schemas.py``)."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The half-open stretch ``[first, end)`` of the rule's axis that a segment owns; no ``end``: to the last frame."""

    first: int
    end: int | None

    def __contains__(self, place: int) -> bool:
        return self.first <= place and (self.end is None or place < self.end)


MAX_SAMPLES = 512
"""The most samples of one segment."""

KEEPING_ROWS = frozenset({"corrupt", "truncated"})
"""The reasons whose segments may hold rows; those of the others hold none and are what ``retry`` repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """The part of a video that a manifest asks for, in seconds from its first frame; ``None``: open."""

    start: Fraction | None = None
    end: Fraction | None = None

    def overlaps(self, *, start: Fraction, end: Fraction | None) -> bool:
        """Whether any moment of ``[start, end)`` lies inside."""
        is_before = self.start is not None and end is not None and end <= self.start
        return not is_before and (self.end is None or start < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A stretch of one video between two keyframes: the unit of failure and of commit.

    ``seek_to`` is where the demuxer is sent (``None``: the file's start) and ``key_pts`` the keyframe that decoding
    then starts with, both in the stream's time base. ``window`` says which samples are its own, on the sampling
    rule's axis; ``targets`` lists them where the planner chose them one by one.
    """

    index: int
    seek_to: int | None
    key_pts: int | None
    window: Window
    targets: tuple[int, ...] | None
    start_s: float
    end_s: float
    num_samples: int
    """As planned: exact where the planner saw every frame, else estimated from rate and duration."""
    cost_s: float
    """Seconds of decoding on one core, estimated."""
    missing_start_s: float | None = None
    """Where a truncated video ends, in its last segment; what is missing reaches up to ``end_s``."""

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the layout of the plan's ``segments`` column."""
        return {
            "index": self.index,
            "seek_to": self.seek_to,
            "key_pts": self.key_pts,
            "window_first": self.window.first,
            "window_end": self.window.end,
            "targets": None if self.targets is None else list(self.targets),
            "start_s": self.start_s,
            "end_s": self.end_s,
            "num_samples": self.num_samples,
            "cost_s": self.cost_s,
            "missing_start_s": self.missing_start_s,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        values = dict(document)
        window = Window(first=values.pop("window_first"), end=values.pop("window_end"))
        targets = values.pop("targets")
        return cls(**values, window=window, targets=None if targets is None else tuple(targets))


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """What the probe found in one video's best stream.

    ``origin_pts`` is the first decoded frame's pts; ``None`` where pts cannot be trusted and frames are counted over
    ``frame_rate_hz``, with ``time_base`` its inverse. ``is_sequential``: not cut, positions are ordinals of decoder
    output, and the segments of a video share one pass from its first packet.
    """

    stream_index: int
    time_base: Fraction
    origin_pts: int | None
    start_pts: int | None
    is_sequential: bool
    frame_rate_hz: Fraction
    container: str
    codec: str
    pix_fmt: str
    width: int
    height: int
    rotation: int
    """Degrees counterclockwise that the display matrix asks for: 0, 90, 180 or 270."""
    duration_s: float
    creation_time: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, in the layout of the plan's columns."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return document | {"time_base": str(self.time_base), "frame_rate_hz": str(self.frame_rate_hz)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of ``to_json``."""
        fractions = {name: Fraction(document[name]) for name in ("time_base", "frame_rate_hz")}
        return cls(**{**document, **fractions})


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameMark:
    """When and how one frame is shown."""

    epoch: int
    pts: int
    time_s: float
    is_keyframe: bool
    is_corrupt: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Why a segment, or with ``segment`` ``None`` a whole video, is not all there, and which seconds are missing."""

    segment: int | None
    missing_start_s: float | None
    missing_end_s: float | None
    reason: str
    detail: str

    @classmethod
    def of(cls, error: InputError, *, segment: Segment | None = None, missing_start_s: float | None = None) -> Self:
        """The failure of ``segment`` from ``missing_start_s`` to its end, or of a whole video."""
        if segment is None:
            missing = {"missing_start_s": None, "missing_end_s": None}
            return cls(segment=None, **missing, reason=error.reason, detail=error.detail)
        return cls(
            segment=segment.index,
            missing_start_s=segment.start_s if missing_start_s is None else missing_start_s,
            missing_end_s=segment.end_s,
            reason=error.reason,
            detail=error.detail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSamples:
    """The samples of one segment, ready for the model, and the failure that cut them short, if any.

    ``pixels`` is ``uint8[T, H, W, 3]``, one picture for each of the ``T`` marks, in presentation order.
    """

    segment: Segment
    marks: tuple[FrameMark, ...]
    pixels: NDArray[np.uint8]
    failure: Quarantined | None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.shape[0] != len(self.marks):
            raise ValueError(f"{len(self.marks)} marks for pixels of shape {self.pixels.shape}")
        if self.failure is not None and self.marks and self.failure.reason not in KEEPING_ROWS:
            raise ValueError(f"a segment that failed with {self.failure.reason} keeps no rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """One video of the plan: what it is and where it is cut, or why it cannot be."""

    facts: VideoFacts
    segments: tuple[Segment, ...]
