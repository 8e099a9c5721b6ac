"""The events of all streams of a host as they are learned of, and whoever listens to them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable

from pipeline.records.events import Event

_MOST_KEPT = 20_000
"""Events that a listener may be behind; who is further behind is told by the lake when it connects again."""


class EventLog:
    """Events in the order in which they came. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_MOST_KEPT)
        self._end = 0
        self._changed: asyncio.Event = asyncio.Event()
        self._is_closed = False

    @property
    def end(self) -> int:
        """The number that the next event gets."""
        return self._end

    @property
    def kept(self) -> list[Event]:
        """Those that are still here, the oldest first."""
        return list(self._events)

    def add(self, events: Iterable[Event]) -> None:
        """Tell events to all that listen."""
        for event in events:
            self._events.append(event)
            self._end += 1
        self._wake()

    def close(self) -> None:
        """Nothing more happens: who listens gets what is left, and then the end."""
        self._is_closed = True
        self._wake()

    def behind(self, event_id: str) -> int | None:
        """The number of the event that came after this one; ``None``: it is not here any more."""
        for place, event in enumerate(reversed(self._events)):
            if event.event_id == event_id:
                return self._end - place
        return None

    async def listen(self, start: int) -> AsyncIterator[Event]:
        """The events from a number on, those included that are still to come, until the log is closed."""
        at = start
        while True:
            changed, events, at = self._changed, self._since(at), self._end
            for event in events:
                yield event
            if not events:
                if self._is_closed:
                    return
                await changed.wait()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _since(self, number: int) -> list[Event]:
        num_new = min(len(self._events), self._end - number)
        return list(self._events)[len(self._events) - num_new :] if num_new > 0 else []
