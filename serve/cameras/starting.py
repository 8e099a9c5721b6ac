"""Streams whose processes are still being started: a client is answered before a slow machine is done with it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.pulling.source import Source
from pipeline.cameras.streams import Streams, settings_for
from pipeline.errors import PipelineError
from pipeline.lake.live.writer import LiveWriter
from pipeline.records.streams import StreamSpec, StreamState

_PATIENCE_S = 8.0
"""Where a process takes longer to start, a stream is there all the same, and ``connecting``."""
_LOG = logging.getLogger("ray.serve")


class Starting:
    """Starts the streams of a host, and stops those that have not begun. All methods belong to one event loop."""

    def __init__(
        self,
        streams: Streams,
        settings: StreamSettings,
        *,
        on_failure: Callable[[str], Awaitable[None]],
    ) -> None:
        """Nothing is being started; ``on_failure`` is told the name of a stream that cannot be, after all."""
        self._streams = streams
        self._settings = settings
        self._on_failure = on_failure
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._tellings: set[asyncio.Future[None]] = set()

    def __contains__(self, name: str) -> bool:
        """Whether a stream has not begun yet."""
        return name in self._starts

    async def start(self, spec: StreamSpec, source: Source) -> StreamStatus:
        """Start a stream; returns when it runs or, on a machine that is busy, when nothing seems to be in its way.

        Raises:
            PipelineError: as ``Streams.start`` does.
        """
        info = settings_for(self._settings, spec).info
        await asyncio.to_thread(LiveWriter.check, self._settings.lake, info=info, streams=[spec.name])
        start = asyncio.create_task(self._streams.start(spec, source))
        await asyncio.wait({start}, timeout=_PATIENCE_S)
        if start.done():
            start.result()
        else:
            self._starts[spec.name] = start
            start.add_done_callback(lambda _: self._ended(spec.name, start))
        return self._streams.status(spec.name)

    async def abandon(self, name: str) -> StreamStatus:
        """End the process of a stream that has not begun."""
        status, start = self._streams.status(name), self._starts[name]
        start.cancel()
        await asyncio.wait({start})
        return replace(status, state=StreamState.STOPPED, since=datetime.now(UTC), reason="stopped")

    async def abandon_all(self) -> None:
        """The same for all that have not begun."""
        await asyncio.gather(*map(self.abandon, list(self._starts)))

    def _ended(self, name: str, start: "asyncio.Task[None]") -> None:
        """A start is over that its client was answered before."""
        del self._starts[name]
        error = None if start.cancelled() else start.exception()
        if error is None:
            return
        # What went wrong by somebody's fault is said in a line; anything else is ours, and comes with its traceback.
        is_told = isinstance(error, PipelineError)
        facts = {"stream": name, "reason": str(error)}
        _LOG.warning("a stream could not be started", exc_info=None if is_told else error, extra=facts)
        telling = asyncio.ensure_future(self._on_failure(name))
        self._tellings.add(telling)
        telling.add_done_callback(self._tellings.discard)
