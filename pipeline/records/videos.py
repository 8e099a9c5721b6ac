"""One video on its way through the plan: listed, planned, and cut into tasks; each a row of a table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

from pipeline.records.documents import Document, part, text, text_or_none, whole, whole_or_none
from pipeline.records.schemas import PLAN, SOURCES
from pipeline.records.segments import Quarantined, Segment, TimeRange, VideoFacts, VideoPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVideo:
    """A video to plan: a row of ``SOURCES``, with the further columns of its manifest.

    ``uri`` is canonical and safe to store; ``locator`` opens the video, may hold a signature (``is_signed``) and never
    reaches the disk. Size, etag and mtime are what the store said of it. A video that is not even there has a
    ``failure``.
    """

    video_id: str
    uri: str
    locator: str
    size_bytes: int | None
    etag: str | None
    mtime_ns: int | None
    time_range: TimeRange
    attempts: int
    further: Mapping[str, object]
    is_signed: bool = False
    failure: Quarantined | None = None

    def to_row(self) -> Document:
        """A row of ``SOURCES``, which ``from_row`` reads back, with the ``reason`` and ``detail`` of its failure."""
        start, end, failure = self.time_range.start, self.time_range.end, self.failure
        return {
            **self.further,
            "video_id": self.video_id,
            "uri": self.uri,
            "locator": self.locator,
            "size_bytes": self.size_bytes,
            "etag": self.etag,
            "mtime_ns": self.mtime_ns,
            "range_start": None if start is None else str(start),
            "range_end": None if end is None else str(end),
            "attempts": self.attempts,
            "is_signed": self.is_signed,
            "reason": None if failure is None else failure.reason,
            "detail": None if failure is None else failure.detail,
        }

    @classmethod
    def from_row(cls, row: Document) -> Self:
        """A row of ``SOURCES`` or ``TASKS``; all columns that are not the plan's are taken for the manifest's."""
        start, end = (
            None if bound is None else Fraction(bound)
            for bound in (text_or_none(row, "range_start"), text_or_none(row, "range_end"))
        )
        return cls(
            video_id=text(row, "video_id"),
            uri=text(row, "uri"),
            locator=text(row, "locator"),
            size_bytes=whole_or_none(row, "size_bytes"),
            etag=text_or_none(row, "etag"),
            mtime_ns=whole_or_none(row, "mtime_ns"),
            time_range=TimeRange(start=start, end=end),
            attempts=whole(row, "attempts"),
            is_signed=row.get("is_signed") is True,  # earlier plans do not say
            further={name: value for name, value in row.items() if name not in _OWN_COLUMNS},
        )


_OWN_COLUMNS = frozenset({*SOURCES.names, *PLAN.names, "segment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVideo:
    """A row of ``PLAN``: what a video is and where it is cut, or why it cannot be."""

    video: ListedVideo
    result: VideoPlan | Quarantined

    def to_row(self) -> Document:
        """A row of ``PLAN`` with the further columns of the video's manifest."""
        result = self.result
        if isinstance(result, Quarantined):
            return {**replace(self.video, failure=result).to_row(), "facts": None, "segments": None}
        segments = [segment.to_json() for segment in result.segments]
        return {**self.video.to_row(), "facts": result.facts.to_json(), "segments": segments}


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentTask:
    """A row of ``TASKS``: a segment to decode."""

    video: ListedVideo
    facts: VideoFacts
    segment: Segment

    @classmethod
    def from_row(cls, row: Document) -> Self:
        """A row of ``TASKS``."""
        return cls(
            video=ListedVideo.from_row(row),
            facts=VideoFacts.from_json(part(row, "facts")),
            segment=Segment.from_json(part(row, "segment")),
        )
