"""What happens in front of a camera: events, and where tracked objects were."""

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.records.documents import Document
from pipeline.records.geometry import Box


class EventType(StrEnum):
    """What may happen."""

    STREAM_STATE = "stream_state"
    MOTION_START = "motion_start"
    MOTION_END = "motion_end"
    LINE_CROSSED = "line_crossed"
    ZONE_ENTERED = "zone_entered"
    ZONE_LEFT = "zone_left"
    LABEL_CHANGED = "label_changed"


class Direction(StrEnum):
    """How a line is crossed, as seen from its first point to its second."""

    LEFT_TO_RIGHT = "left_to_right"
    RIGHT_TO_LEFT = "right_to_left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of ``events``. Of a stream's state outside a session there is no ``video_id``, pts or time."""

    event_id: str
    """Sorts by time within a stream, and is never given twice."""
    video_id: str | None
    uri: str
    stream: str
    type: EventType
    pts: int | None
    time_s: float | None
    captured_at: datetime
    track: int | None = None
    label: str | None = None
    """Of the object or head; of ``stream_state``, the state."""
    confidence: float | None = None
    box: Box | None = None
    name: str | None = None
    """Of the line, zone or head."""
    direction: Direction | None = None
    value: Document | None = None
    """What else there is to say, such as the reason of a state."""

    def to_json(self) -> Document:
        """The columns of the table ``events``, as every listener gets them: a line, a server-sent event, a post."""
        return {
            "event_id": self.event_id,
            "video_id": self.video_id,
            "uri": self.uri,
            "stream": self.stream,
            "type": self.type.value,
            "pts": self.pts,
            "time_s": self.time_s,
            "captured_at": self.captured_at.isoformat(),
            "track": self.track,
            "label": self.label,
            "confidence": self.confidence,
            "box": None if self.box is None else asdict(self.box),
            "name": self.name,
            "direction": None if self.direction is None else self.direction.value,
            "value": self.value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPoint:
    """A row of ``tracks``: where an object was in one picture."""

    video_id: str
    stream: str
    track: int
    pts: int
    time_s: float
    captured_at: datetime
    box: Box
    label: str | None
    confidence: float | None
