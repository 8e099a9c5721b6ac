"""All streams of one host: started, stopped, looked at and listened to by their names."""

import asyncio
import builtins
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

from ray.exceptions import RayError

from pipeline.cameras.analysis.choice import DetectorChoice, DetectorKind
from pipeline.cameras.detector_actor import RemoteDetector
from pipeline.cameras.event_log import EventLog
from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.pulling.source import Source
from pipeline.cameras.stream_actor import RemoteStream, StreamOrder
from pipeline.cameras.watched import StreamTaken, Watched
from pipeline.errors import PipelineError, UsageError
from pipeline.lake.live.readers import events as events_of_lake
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamSpec

__all__ = ["NoPicture", "NoSuchStream", "StreamTaken", "Streams"]


class NoSuchStream(UsageError):
    """No stream of this name runs here."""


class NoPicture(UsageError):
    """The stream has not had a picture yet."""


class Streams:
    """The streams of one process, each an actor of Ray that can harm no other.

    All methods belong to one event loop, on a process that is connected to Ray. ``watch`` holds it in the driver,
    ``serve`` in a deployment of one replica.
    """

    def __init__(
        self, settings: StreamSettings, *, processes: Iterable[RemoteStream] = (), keeps_one_ready: bool = False
    ) -> None:
        """Nothing runs yet.

        Args:
            settings: what streams share.
            processes: for the first streams: they take seconds to start, which a host can use for other things.
            keeps_one_ready: whether there is always one for the next stream, so that nobody waits for it.
        """
        self._settings = settings
        self._keeps_one_ready = keeps_one_ready
        self._processes = list(processes) or ([RemoteStream()] if keeps_one_ready else [])
        self._log = EventLog()
        self._watched: dict[str, Watched] = {}
        self._networks: dict[str, RemoteDetector] = {}
        """The detectors that are networks, by what ``--detect`` calls them; they stay until all is closed."""

    async def start(self, spec: StreamSpec, source: Source) -> None:
        """Start a stream; returns once it holds its lease and tries to connect, whether or not the camera is there.

        Raises:
            StreamTaken: the name is taken, here or by another writer to the lake.
            UsageError: the lake has another configuration, or the spec asks for what is not there (a head, an extra).
            StorageError: the lake cannot be written.
        """
        watched = self._watch(spec, source)
        try:
            if spec.detect in self._networks:
                await self._networks[spec.detect].load()
            await watched.start()
        except BaseException:
            await watched.abandon()
            self._forget(watched)
            raise

    def resume(self, spec: StreamSpec, source: Source) -> None:
        """Go on with a stream whose host has died, perhaps on another machine; why it does not run, its status says.

        Raises:
            StreamTaken: the name is taken here.
        """
        self._watch(spec, source).resume()

    async def stop(self, name: str) -> StreamStatus:
        """End a stream, in any state within 2 s; returns when what is buffered is committed, and the name is free.

        Raises:
            NoSuchStream: there is none.
            StorageError: the lake did not take what was buffered.
        """
        watched = self._of(name)
        try:
            ended = await watched.stop()
        finally:
            self._forget(watched)
        if isinstance(ended, PipelineError):
            raise ended
        return ended

    def list(self) -> builtins.list[StreamStatus]:
        """All streams by name, as of less than a second ago; a ``file:`` source that has ended is ``stopped``."""
        return [self._watched[name].status for name in sorted(self._watched)]

    def status(self, name: str) -> StreamStatus:
        """One stream.

        Raises:
            NoSuchStream: there is none.
        """
        return self._of(name).status

    def are_over(self) -> bool:
        """Whether all streams have ended by themselves, and what they brought is committed."""
        return all(watched.is_over for watched in self._watched.values())

    async def picture(self, name: str, *, boxes: bool = False) -> bytes:
        """The newest picture of a stream as a JPEG, with the boxes of its tracks where asked for.

        Raises:
            NoSuchStream: there is none.
            NoPicture: nothing has come in yet.
        """
        try:
            picture = await self._of(name).actor.picture(boxes=boxes)
        except RayError:  # its process has died, or is being started again
            picture = None
        if picture is None:
            raise NoPicture(f"stream {name} has had no picture yet")
        return picture

    async def events(
        self, *, stream: str | None = None, type: EventType | None = None, after: str | None = None
    ) -> AsyncIterator[Event]:
        """What happens from now on, in the order in which it is learned of, until all streams are closed.

        Args:
            stream: of this one alone, which need not run yet.
            type: of this type alone.
            after: an ``event_id``: what came later is told first, from memory or the lake, each once.
        """
        async for event in self._all_events(stream, after):
            if stream in (None, event.stream) and type in (None, event.type):
                yield event

    async def close(self) -> builtins.list[StreamStatus]:
        """Stop all streams, at the same time; who listens to events gets the last of them, and then the end.

        Returns:
            How each of them ended.

        Raises:
            StorageError: the lake did not take what was buffered of one of them; the others are stopped all the same.
        """
        ended = await asyncio.gather(*map(self.stop, sorted(self._watched)), return_exceptions=True)
        self._log.close()
        ends = [*(network.end() for network in self._networks.values()), *(each.end() for each in self._processes)]
        await asyncio.gather(*ends)
        for failure in ended:
            if isinstance(failure, BaseException) and not isinstance(failure, NoSuchStream):
                raise failure
        return [status for status in ended if isinstance(status, StreamStatus)]

    async def _all_events(self, stream: str | None, after: str | None) -> AsyncIterator[Event]:
        start = self._log.end if after is None else self._log.behind(after)
        if after is not None and start is None:
            kept = self._log.kept
            start = self._log.end
            known = {event.event_id for event in kept}
            for event in await asyncio.to_thread(_stored_events, self._settings.lake, stream=stream, after=after):
                if event.event_id not in known:
                    yield event
            for event in kept:
                if event.event_id > after:
                    yield event
        assert start is not None
        async for event in self._log.listen(start):
            yield event

    def _watch(self, spec: StreamSpec, source: Source) -> Watched:
        if spec.name in self._watched:
            raise StreamTaken(f"stream {spec.name} runs already")
        network = self._network_for(spec)
        order = StreamOrder(spec=spec, source=source, settings=settings_for(self._settings, spec), network=network)
        watched = Watched(order, self._process(), log=self._log)
        self._watched[spec.name] = watched
        return watched

    def _process(self) -> RemoteStream:
        process = self._processes.pop() if self._processes else RemoteStream()
        if self._keeps_one_ready and not self._processes:
            self._processes.append(RemoteStream())
        return process

    def _network_for(self, spec: StreamSpec) -> RemoteDetector | None:
        if DetectorChoice.parse(spec.detect).kind is not DetectorKind.NETWORK:
            return None
        settings = self._settings
        if spec.detect not in self._networks:
            self._networks[spec.detect] = RemoteDetector(
                spec.detect, weights=settings.detect_weights or "default", has_gpu=settings.detectors_have_gpu
            )
        return self._networks[spec.detect]

    def _of(self, name: str) -> Watched:
        if name not in self._watched:
            raise NoSuchStream(f"no stream {name[:100]!r} runs here")
        return self._watched[name]

    def _forget(self, watched: Watched) -> None:
        if self._watched.get(watched.spec.name) is watched:
            del self._watched[watched.spec.name]


def settings_for(settings: StreamSettings, spec: StreamSpec) -> StreamSettings:
    """The settings of one stream: the configuration of its lake has its sampling rule."""
    config = replace(settings.info.config, sample=f"fps:{spec.rate_hz}")
    return replace(settings, info=replace(settings.info, config=config))


def _stored_events(lake: str, *, stream: str | None, after: str) -> builtins.list[Event]:
    """The events that a lake holds behind one, in the order of their ids; none where there is no lake yet."""
    try:
        return sorted(events_of_lake(lake, stream, after_event_id=after), key=lambda event: event.event_id)
    except UsageError:
        return []
