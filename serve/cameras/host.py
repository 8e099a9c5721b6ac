"""The deployment that holds the streams: one for all replicas, so a stream belongs to the cluster and to no replica."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

import ray.serve
from ray.exceptions import RayError
from ray.serve import Application

from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.sinks.webhook import SECRET_VARIABLE, Webhook
from pipeline.cameras.streams import NoPicture, NoSuchStream, Streams, StreamTaken
from pipeline.errors import RunError, StorageError, UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.live.writer import LiveWriter
from pipeline.records.events import Event, EventType
from pipeline.records.model_info import ModelInfo, Precision
from serve.cameras.embedding import ReplicaEmbed
from serve.cameras.posted import PostedStreams
from serve.cameras.requests import StreamRequest, read_streams_file
from serve.cameras.sources import Sources
from serve.cameras.starting import Starting
from serve.metrics import StreamMetrics
from serve.problems import Busy, Conflict, NotFound, Problem, StoreFailed
from serve.settings import CameraSettings, Settings

NAME = "cameras"
_LOG = logging.getLogger("ray.serve")
_METRICS_S = 1.0
_STOP_S = 60.0
_MOST_LISTENERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a replica tells of its model: it makes the configuration of the dataset."""

    info: ModelInfo
    precision: Precision


class CameraHost:
    """The one process that starts, stops and knows the streams; each of them is an actor of its own.

    A problem is returned, not raised: what a deployment raises, Ray writes into a log with a traceback.
    """

    async def __init__(self, settings: Settings, *, replica: str) -> None:  # type: ignore[misc]  # Serve awaits it
        """Start the streams of the streams file.

        Raises:
            UsageError: one of them cannot be started, or the dataset has another configuration.
        """
        self._closing: asyncio.Task[None] | None = None
        cameras = settings.cameras
        assert cameras.lake is not None
        application = ray.serve.get_replica_context().app_name
        handle = ray.serve.get_deployment_handle(replica, app_name=application)
        facts: ModelFacts = await handle.facts.remote()
        embed = ReplicaEmbed(deployment=replica, application=application)
        self._sources = Sources(cameras)
        self._posted = await asyncio.to_thread(PostedStreams.of, application)
        stream_settings = await asyncio.to_thread(_stream_settings, settings, facts, embed=embed)
        self._streams = Streams(stream_settings, keeps_one_ready=True)
        self._starting = Starting(self._streams, stream_settings, on_failure=self._posted.remove)
        self._webhook = await asyncio.to_thread(_webhook, cameras.lake, cameras.events)
        self._telling = asyncio.create_task(self._tell())
        await asyncio.sleep(0)  # nothing escapes it from here on
        try:
            has_died = await self._posted.begin()
            await self._start_those_of_the_file(cameras, has_died=has_died)
            await self._resume_what_was_posted()
        except UsageError as error:
            await self.close()
            raise UsageError(str(error)) from None  # whichever it was: the driver shows this class as it is
        self._showing = asyncio.create_task(self._show_metrics())

    async def __del__(self) -> None:
        """Serve calls this before the process ends, whatever ends it: a new configuration, or the server's stop."""
        if hasattr(self, "_streams"):
            await self.close()

    async def start(self, request: StreamRequest) -> StreamStatus | Problem:
        """Start a stream that a client asks for; the problem says why it cannot be."""
        try:
            spec, source = self._sources.of_a_post(request)
            self._require_free(spec.name)
            status = await self._starting.start(spec, source)
            await self._posted.add(request)
            return status
        except Problem as problem:
            return problem
        except StorageError as error:
            return StoreFailed(str(error))
        except UsageError as error:
            return Conflict(str(error))
        except RunError as error:
            return Busy(str(error))

    async def stop(self, name: str) -> StreamStatus | Problem:
        """Stop a stream; its rows are committed when this returns."""
        try:
            await self._posted.remove(name)
            if name in self._starting:
                return await self._starting.abandon(name)
            return await self._streams.stop(name)
        except NoSuchStream:
            return _no_such_stream(name)
        except StorageError as error:
            return StoreFailed(str(error))

    async def statuses(self) -> list[StreamStatus]:
        """All streams."""
        return self._streams.list()

    async def status(self, name: str) -> StreamStatus | Problem:
        """One stream."""
        try:
            return self._streams.status(name)
        except NoSuchStream:
            return _no_such_stream(name)

    async def picture(self, name: str, *, boxes: bool) -> bytes | Problem:
        """The newest picture of a stream, as a JPEG."""
        if name in self._starting:
            return _no_picture(name)
        try:
            return await self._streams.picture(name, boxes=boxes)
        except NoSuchStream:
            return _no_such_stream(name)
        except NoPicture:
            return _no_picture(name)

    async def events(
        self, *, stream: str | None, type: EventType | None, after: str | None
    ) -> AsyncIterator[Event | None]:
        """``None`` once nothing escapes the caller any more, and then what happens, until the caller hangs up."""
        events = self._streams.events(stream=stream, type=type, after=after)
        first = asyncio.ensure_future(anext(events, None))
        try:
            await asyncio.sleep(0)  # it listens now
            yield None
            event = await first
            if event is not None:
                yield event
            async for event in events:
                yield event
        finally:
            first.cancel()

    async def close(self) -> None:
        """Stop all streams, and commit what is buffered; further calls wait for the first."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            await self._starting.abandon_all()
            await self._streams.close()
        finally:
            if self._webhook is not None:
                await self._telling  # to the last event
                await asyncio.to_thread(self._webhook.close)
            with contextlib.suppress(RayError):  # the cluster is being shut down as well
                await self._posted.end()

    async def _start_those_of_the_file(self, cameras: CameraSettings, *, has_died: bool) -> None:
        """Start them at the same time; the first failure of all is raised when every start has ended.

        Where a host before this one ``has_died``, they ran, and are gone on with whatever is in the way now.
        """
        if cameras.streams_file is None:
            return
        streams = [self._sources.of_the_file(request) for request in read_streams_file(cameras.streams_file)]
        if has_died:
            for spec, source in streams:
                self._streams.resume(spec, source)
            return
        starts = [self._streams.start(spec, source) for spec, source in streams]
        for failure in await asyncio.gather(*starts, return_exceptions=True):
            if failure is not None:
                raise failure

    async def _resume_what_was_posted(self) -> None:
        """Go on with what was posted to a host before this one, as far as that is still allowed."""
        for request in await self._posted.all():
            try:
                self._streams.resume(*self._sources.of_a_post(request))
            except (Problem, UsageError) as problem:
                await self._posted.remove(request.name)
                _LOG.warning("a stream is watched no more", extra={"stream": request.name, "reason": str(problem)})

    async def _tell(self) -> None:
        async for event in self._streams.events():
            if self._webhook is not None:
                self._webhook.send(event)

    def _require_free(self, name: str) -> None:
        if any(status.spec.name == name for status in self._streams.list()):
            raise StreamTaken(f"a stream {name!r} is there already")

    async def _show_metrics(self) -> None:
        metrics = StreamMetrics()
        while True:
            metrics.show(self._streams.list())
            await asyncio.sleep(_METRICS_S)


def deployed(settings: Settings, *, replica: str) -> Application:
    """The deployment, which belongs into the application of the replicas with this name."""
    deployment = ray.serve.deployment(
        name=NAME,
        num_replicas=1,
        max_ongoing_requests=_MOST_LISTENERS,
        # A stop waits until what is buffered is in the lake.
        graceful_shutdown_timeout_s=_STOP_S,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": 0},
        max_constructor_retry_count=1,
    )
    return deployment(CameraHost).bind(settings, replica=replica)


def _stream_settings(settings: Settings, facts: ModelFacts, *, embed: ReplicaEmbed) -> StreamSettings:
    cameras = settings.cameras
    assert cameras.lake is not None
    if facts.info.preprocessing.window is not None:
        raise UsageError(f"{facts.info.name} takes clips: streams need a model that takes pictures one by one")
    known = Dataset.at(cameras.lake).info()
    config = DatasetConfig(
        model=facts.info,
        sample="fps:1" if known is None else known.config.sample,
        precision=facts.precision,
        dtype="float32" if known is None else known.config.dtype,
    )
    info = DatasetInfo(config=config, weights=settings.model.weights)
    LiveWriter.check(cameras.lake, info=info, streams=())
    return StreamSettings(
        lake=cameras.lake,
        info=info,
        embed=embed,
        heads=settings.heads.folder,
        commit_s=cameras.commit_s,
        publish_s=cameras.publish_s,
        keep_s=cameras.keep_s,
        stall_s=cameras.stall_s,
        detect_weights=cameras.detect_weights,
    )


def _webhook(lake: str, url: str | None) -> Webhook | None:
    return None if url is None else Webhook(url, lake=lake, secret=os.environ.get(SECRET_VARIABLE))


def _no_picture(name: str) -> NotFound:
    return NotFound(f"no picture of {name!r} has come in yet")


def _no_such_stream(name: str) -> NotFound:
    return NotFound(f"no stream {name[:100]!r} runs here")
