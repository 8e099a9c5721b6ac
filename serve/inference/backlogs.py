"""The pictures of WebSockets that wait for the model, and the memory that all of them may hold together."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from serve.problems import Problem
from serve.settings import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An encoded picture, or why it was not kept; ``time_s`` counts from its socket's first one."""

    seq: int
    time_s: float
    content: bytes | Problem

    @property
    def num_bytes(self) -> int:
        """The memory that it holds."""
        return len(self.content) if isinstance(self.content, bytes) else 0


class Backlogs:
    """All backlogs of a replica.

    Together they hold at most ``live_memory_bytes``, the pictures that the model is at included. When another picture
    would be too much, the backlog with the most bytes waiting drops its oldest one, until there is room: who sends
    little loses nothing to who sends much.
    """

    def __init__(self, limits: Limits, *, on_drop: Callable[[int], None] = lambda num_pictures: None) -> None:
        self._length = limits.live_queue
        self._max_bytes = limits.live_memory_bytes
        self._on_drop = on_drop
        self._open: set[Backlog] = set()

    @property
    def num_bytes(self) -> int:
        """What all of them hold."""
        return sum(backlog.num_bytes for backlog in self._open)

    @contextlib.contextmanager
    def opened(self) -> Iterator["Backlog"]:
        """A backlog for one socket, forgotten with all that it holds when the socket is."""
        backlog = Backlog(length=self._length, on_drop=self._on_drop, on_more=self._make_room)
        self._open.add(backlog)
        try:
            yield backlog
        finally:
            self._open.remove(backlog)

    def _make_room(self) -> None:
        while self.num_bytes > self._max_bytes:
            max(self._open, key=lambda backlog: backlog.num_bytes_waiting).drop_oldest()


class Backlog:
    """The pictures of one client that wait: of one too many, the oldest is dropped."""

    def __init__(
        self,
        *,
        length: int,
        on_drop: Callable[[int], None] = lambda num_pictures: None,
        on_more: Callable[[], None] = lambda: None,
    ) -> None:
        """Hold ``length`` pictures; ``on_drop`` is called for each that is dropped, ``on_more`` for each that came."""
        self._waiting: deque[Picture] = deque()
        self._at_work: Picture | None = None
        self._length = length
        self._on_drop = on_drop
        self._on_more = on_more
        self._num_dropped = 0
        self._num_seen = 0
        self._began: float | None = None
        self._is_closed = False
        self._changed = asyncio.Event()

    @property
    def num_bytes_waiting(self) -> int:
        """Of pictures that can still be dropped."""
        return sum(picture.num_bytes for picture in self._waiting)

    @property
    def num_bytes(self) -> int:
        """Of all pictures, the one that the model is at included."""
        return self.num_bytes_waiting + (self._at_work.num_bytes if self._at_work else 0)

    def put(self, content: bytes | Problem) -> None:
        """Take one more picture."""
        now = time.monotonic()
        self._began = now if self._began is None else self._began
        if len(self._waiting) == self._length:
            self.drop_oldest()
        self._waiting.append(Picture(seq=self._num_seen, time_s=round(now - self._began, 6), content=content))
        self._num_seen += 1
        self._on_more()
        self._changed.set()

    def drop_oldest(self) -> None:
        """Let go of the picture that has waited longest."""
        self._waiting.popleft()
        self._num_dropped += 1
        self._on_drop(1)

    def close(self) -> None:
        """No more pictures come."""
        self._is_closed = True
        self._changed.set()

    async def next(self) -> tuple[int, Picture | None]:
        """How many pictures were dropped since the last call, and the oldest that waits.

        The picture counts as held until the next call. Instead of one there is ``None`` where all that came were
        dropped, or once the backlog is closed and empty.
        """
        self._at_work = None
        while not self._waiting and not self._num_dropped and not self._is_closed:
            self._changed.clear()
            await self._changed.wait()
        num_dropped, self._num_dropped = self._num_dropped, 0
        self._at_work = self._waiting.popleft() if self._waiting else None
        return num_dropped, self._at_work

    @property
    def is_over(self) -> bool:
        """Whether nothing waits and nothing more comes."""
        return self._is_closed and not self._waiting and not self._num_dropped
