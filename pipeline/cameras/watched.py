"""One stream as its host sees it: the actor, what it told last, and another actor where that one died."""

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime

from ray.exceptions import RayActorError, RayError

from pipeline.cameras.event_log import EventLog
from pipeline.cameras.hosting.news import News
from pipeline.cameras.hosting.reconnecting import BackOff
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.stream_actor import RemoteStream, StreamOrder
from pipeline.errors import PipelineError, RunError, UsageError
from pipeline.records.streams import StreamState

_NEWS_S = 0.5
"""How old a status may be."""
_STOPPED_WITHIN_S = 30.0
"""A process that takes longer to write what it holds is killed: what it has committed is there."""


class StreamTaken(UsageError):
    """A stream of this name runs already, here or in another process that writes to the same lake."""


class Watched:
    """A stream that runs, or is being started or stopped. All methods belong to one event loop."""

    def __init__(self, order: StreamOrder, actor: RemoteStream, *, log: EventLog) -> None:
        """Nothing runs yet but its process, the ``actor``; ``log`` gets its events."""
        self.spec = spec = order.spec
        self.actor = actor
        self.status = StreamStatus.starting(spec)
        self.is_over = False
        """Whether the stream has ended, and nothing more is told of it."""
        self._order = order
        self._log = log
        self._following: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._is_beginning_again = False
        """An actor takes the place of one that died, and has written nothing yet; its lease may take a minute."""
        self._failure: PipelineError | None = None
        """Why it cannot go on."""

    async def start(self) -> None:
        """Begin to watch; raises as ``Streams.start`` does."""
        try:
            failure = await self.actor.start(self._order)
        except RayError as error:
            raise RunError(f"stream {self.spec.name}: its process {_fate(error)} before it began") from None
        if failure is not None:
            raise failure
        self._following = asyncio.create_task(self._follow())

    def resume(self) -> None:
        """Begin to watch what was watched by a host that has died; it comes back as after the death of a process."""
        self._become(StreamState.RECONNECTING, "its host ended")
        self._following = asyncio.create_task(self._resume())

    async def abandon(self) -> None:
        """It could not be started: end its process."""
        await self.actor.end()

    async def stop(self) -> StreamStatus | PipelineError:
        """End it; returns how it ended, or what the lake did not take."""
        self._is_stopping = True
        has_written = not self._is_beginning_again
        ended = await self._end() if has_written else None
        if self._following is not None:
            self._following.cancel()
        await self.actor.end()
        if self._failure is not None:
            return self._failure
        if ended is None:
            self._become(StreamState.STOPPED, "its process was killed" if has_written else "stopped")
            return self.status
        return ended

    async def _end(self) -> StreamStatus | PipelineError | None:
        """Have the actor write what it holds; ``None``: it did not answer."""
        ended: StreamStatus | PipelineError | None = None
        with contextlib.suppress(RayError, TimeoutError):
            async with asyncio.timeout(_STOPPED_WITHIN_S):
                ended = await self.actor.stop()
                if self._following is not None:
                    await self._following
        return ended

    async def _resume(self) -> None:
        with contextlib.suppress(RayError):  # whoever listens to what did not begin is told so
            await self._begin_again()
        await self._follow()

    async def _follow(self) -> None:
        """Take what the actor tells, and start another where it died, until the stream is over."""
        back_off = BackOff()
        while not self.is_over:
            try:
                await self._listen(back_off)
            except RayError as error:
                if self._is_stopping:
                    return
                self._become(StreamState.RECONNECTING, f"its process {_fate(error)}")
                await asyncio.sleep(back_off.pause_s())
                with contextlib.suppress(RayError):  # as above
                    await self._start_again()

    async def _listen(self, back_off: BackOff) -> None:
        since, before = 0, self.status.counters
        while not self.is_over:
            news: News = await self.actor.news(since, timeout_s=_NEWS_S)
            if news.status.counters.pictures:
                back_off.has_worked()
            self._log.add(news.events)
            self.status = replace(news.status, counters=news.status.counters.after(before))
            since = news.next
            self.is_over = news.is_over

    async def _start_again(self) -> None:
        await self.actor.end()
        self.actor = RemoteStream()
        await self._begin_again()

    async def _begin_again(self) -> None:
        self._is_beginning_again = True
        try:
            failure = await self.actor.start(self._order, died_before=True)
        finally:
            self._is_beginning_again = False
        if failure is None:
            return
        self.status = replace(self.status, last_error=str(failure))
        if isinstance(failure, UsageError):  # another program has taken the stream over meanwhile
            self._become(StreamState.STOPPED, str(failure))
            self._failure = failure
            self.is_over = True
            return
        await self.actor.end()  # and the next attempt to listen starts another

    def _become(self, state: StreamState, reason: str) -> None:
        """A state that the actor cannot tell any more; what takes its place tells the lake and the listeners."""
        self.status = replace(self.status, state=state, since=datetime.now(UTC), reason=reason, session=None)


def _fate(error: RayError) -> str:
    """What became of an actor that gave this answer."""
    return "ended" if isinstance(error, RayActorError) else "failed"
