"""What is counted while a stream runs, and what it says of its state."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pipeline.cameras.hosting.status import StreamCounters, StreamStatus
from pipeline.records.event_ids import EventIds
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamSpec, StreamState


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSince:
    """A state of a stream."""

    state: StreamState
    reason: str
    since: datetime


class Tally:
    """The counters and the state of one stream. Each change of state is an event."""

    def __init__(self, spec: StreamSpec, *, ids: EventIds, on_event: Callable[[Event], None]) -> None:
        """Nothing is counted yet, and no state told; ``on_event`` takes what there is to tell."""
        self._spec = spec
        self._ids = ids
        self._on_event = on_event
        self._now = StateSince(state=StreamState.CONNECTING, reason="starting", since=datetime.now(UTC))
        self._is_told = False
        self._counters = StreamCounters()
        self.lag_s = 0.0
        self.session: str | None = None
        self.last_error: str | None = None

    @property
    def state(self) -> StreamState:
        """What the stream is doing."""
        return self._now.state

    def count(self, name: str, number: int = 1) -> None:
        """Add to one of the counters; see ``StreamCounters`` for their names."""
        if number:
            self._counters = replace(self._counters, **{name: getattr(self._counters, name) + number})

    def become(self, state: StreamState, reason: str) -> None:
        """Take up a state; one that is told already for the same reason is not told again."""
        if self._is_told and (state, reason) == (self._now.state, self._now.reason):
            return
        self._is_told = True
        now = datetime.now(UTC)
        self._now = StateSince(state=state, reason=reason, since=now)
        event = Event(
            event_id=self._ids.next(now),
            video_id=self.session,
            uri=self._spec.source,
            stream=self._spec.name,
            type=EventType.STREAM_STATE,
            pts=None,
            time_s=None,
            captured_at=now,
            label=state.value,
            value={"reason": reason},
        )
        self.count("events")
        self._on_event(event)

    def status(self) -> StreamStatus:
        """All of it."""
        return StreamStatus(
            spec=self._spec,
            state=self._now.state,
            since=self._now.since,
            reason=self._now.reason,
            session=self.session,
            counters=self._counters,
            lag_s=self.lag_s,
            last_error=self.last_error,
        )
