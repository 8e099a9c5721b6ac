"""What a stream has to tell whoever listens: its events in order, and how it is now."""

import asyncio
from collections import deque
from dataclasses import dataclass

from pipeline.cameras.hosting.status import StreamStatus
from pipeline.records.events import Event

_MOST_KEPT = 10_000
"""A listener that is further behind reads the lake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What has happened since a listener asked last."""

    events: tuple[Event, ...]
    next: int
    """What to ask for the next time."""
    status: StreamStatus
    is_over: bool
    """Whether nothing comes any more."""


class NewsDesk:
    """The last events of one stream, each with a number. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_MOST_KEPT)
        self._next = 0
        self._has_more = asyncio.Event()

    def tell(self, event: Event) -> None:
        """An event has happened."""
        self._events.append(event)
        self._next += 1
        self._has_more.set()

    def wake(self) -> None:
        """Let those that wait have a look: the status has changed, or all is over."""
        self._has_more.set()

    async def wait(self, since: int, *, timeout_s: float) -> tuple[tuple[Event, ...], int]:
        """The events from number ``since`` on, as soon as there is one or the time is over; and the next number."""
        if since >= self._next:
            self._has_more.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._has_more.wait()
            except TimeoutError:
                pass
        num_new = min(len(self._events), max(0, self._next - since))
        return tuple(self._events)[len(self._events) - num_new :], self._next
