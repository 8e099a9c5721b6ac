"""The values that pass between stages, free of Arrow, torch and av (their columns: ``schemas.py``)."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.records.documents import (
    Document,
    flag,
    number,
    number_or_none,
    only,
    text,
    text_or_none,
    whole,
    whole_or_none,
    wholes,
)
from pipeline.records.windows import Clip


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
class Sizing:
    """How large a segment should become."""

    max_samples: int = MAX_SAMPLES
    duration_s: float | None = None
    """Target length; ``None``: cut by ``cost_s``."""
    cost_s: float = 8.0
    """Target decoding time, on one core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRange:
    """The part of a video that a manifest asks for, in seconds from its first frame; ``None``: open."""

    start: Fraction | None = None
    end: Fraction | None = None

    def overlaps(self, *, start: Fraction, end: Fraction | None) -> bool:
        """Whether any moment of ``[start, end)`` lies inside."""
        is_before = self.start is not None and end is not None and end <= self.start
        return not is_before and (self.end is None or start < self.end)


WHOLE_VIDEO = TimeRange()
"""A range that is open at both ends."""


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

    def to_json(self) -> Document:
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
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is no such document.
        """
        only(document, _SEGMENT_KEYS, what="a segment")
        return cls(
            index=whole(document, "index"),
            seek_to=whole_or_none(document, "seek_to"),
            key_pts=whole_or_none(document, "key_pts"),
            window=Window(first=whole(document, "window_first"), end=whole_or_none(document, "window_end")),
            targets=None if document["targets"] is None else wholes(document, "targets"),
            start_s=number(document, "start_s"),
            end_s=number(document, "end_s"),
            num_samples=whole(document, "num_samples"),
            cost_s=number(document, "cost_s"),
            missing_start_s=number_or_none(document, "missing_start_s"),
        )


_SEGMENT_KEYS = (set(Segment.__slots__) - {"window"}) | {"window_first", "window_end"}


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

    def to_json(self) -> Document:
        """Plain values, in the layout of the plan's columns."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return document | {"time_base": str(self.time_base), "frame_rate_hz": str(self.frame_rate_hz)}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError, ZeroDivisionError: it is no such document.
        """
        only(document, cls.__slots__, what="a video")
        return cls(
            stream_index=whole(document, "stream_index"),
            time_base=Fraction(text(document, "time_base")),
            origin_pts=whole_or_none(document, "origin_pts"),
            start_pts=whole_or_none(document, "start_pts"),
            is_sequential=flag(document, "is_sequential"),
            frame_rate_hz=Fraction(text(document, "frame_rate_hz")),
            container=text(document, "container"),
            codec=text(document, "codec"),
            pix_fmt=text(document, "pix_fmt"),
            width=whole(document, "width"),
            height=whole(document, "height"),
            rotation=whole(document, "rotation"),
            duration_s=number(document, "duration_s"),
            creation_time=text_or_none(document, "creation_time"),
        )


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
class Thumbnail:
    """A sample, upright and small, as a JPEG."""

    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentSamples:
    """The samples of one segment, ready for the model, and the failure that cut them short, if any.

    ``pixels`` holds an array for each way of preparing a sample that was asked for, ``uint8[T, H, W, 3]``: one picture
    for each of the ``T`` marks, in presentation order.
    """

    segment: Segment
    marks: tuple[FrameMark, ...]
    pixels: tuple[NDArray[np.uint8], ...]
    failure: Quarantined | None
    decoded_frames: int = 0
    """That came out of the decoder for it, samples or not."""
    thumbnails: tuple[Thumbnail, ...] | None = None
    """One for each mark; ``None``: none were asked for."""
    clips: tuple[Clip, ...] | None = None
    """The windows that begin in the segment, where the samples form some; those samples may lie behind it, too."""

    def __post_init__(self) -> None:
        if self.thumbnails is not None and len(self.thumbnails) != len(self.marks):
            raise ValueError(f"{len(self.marks)} marks for {len(self.thumbnails)} thumbnails")
        for pixels in self.pixels:
            if pixels.ndim != 4 or pixels.shape[0] != len(self.marks):
                raise ValueError(f"{len(self.marks)} marks for pixels of shape {pixels.shape}")
        if self.failure is not None and self.marks and self.failure.reason not in KEEPING_ROWS:
            raise ValueError(f"a segment that failed with {self.failure.reason} keeps no rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPlan:
    """One video of the plan: what it is and where it is cut, or why it cannot be."""

    facts: VideoFacts
    segments: tuple[Segment, ...]
