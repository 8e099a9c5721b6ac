"""Events that a lake holds, for a listener that was away for long."""

from pipeline.errors import UsageError
from pipeline.lake.live.readers import events
from pipeline.records.events import Event


def stored_events(lake: str, *, stream: str | None, after: str) -> list[Event]:
    """The events behind one, of a stream or of all, in the order of their ids; none where there is no lake yet."""
    try:
        return sorted(events(lake, stream, after_event_id=after), key=lambda event: event.event_id)
    except UsageError:
        return []
