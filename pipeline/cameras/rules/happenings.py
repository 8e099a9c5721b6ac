"""What a rule says has happened, before it becomes a row of ``events``."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pipeline.records.documents import Document
from pipeline.records.events import Direction, Event, EventType, TrackPoint
from pipeline.records.geometry import Box

NewEventId = Callable[[datetime], str]
"""Gives the event of a moment its id: ids sort by time within a stream, and none is given twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A picture's time, by each of its clocks."""

    pts: int
    time_s: float
    """From the session's first frame."""
    captured_at: datetime

    @classmethod
    def of(cls, point: TrackPoint) -> "Moment":
        """When the object was there."""
        return cls(pts=point.pts, time_s=point.time_s, captured_at=point.captured_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event without its stream and id. The fields are those of ``Event``."""

    type: EventType
    at: Moment
    track: int | None = None
    label: str | None = None
    confidence: float | None = None
    box: Box | None = None
    name: str | None = None
    direction: Direction | None = None
    value: Document | None = None

    def event(self, *, event_id: str, video_id: str, uri: str, stream: str) -> Event:
        """The row that it becomes."""
        return Event(
            event_id=event_id,
            video_id=video_id,
            uri=uri,
            stream=stream,
            type=self.type,
            pts=self.at.pts,
            time_s=self.at.time_s,
            captured_at=self.at.captured_at,
            track=self.track,
            label=self.label,
            confidence=self.confidence,
            box=self.box,
            name=self.name,
            direction=self.direction,
            value=self.value,
        )
