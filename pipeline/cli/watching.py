"""One ``vidlake watch``, from the model to the last commit."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import TypeVar

from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.model_actor import RemoteModel, WatchedModel
from pipeline.cameras.stream_actor import RemoteStream
from pipeline.cameras.streams import Streams
from pipeline.cli.event_sinks import event_sink
from pipeline.cli.watch_display import WatchDisplay, closing_line
from pipeline.cli.watch_words import WatchRequest
from pipeline.cluster.start import starting
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.live.writer import LiveWriter
from pipeline.records.events import Event
from pipeline.records.model_info import ModelInfo, Precision
from pipeline.records.resources import Hardware

_LOOK_S = 0.2

Result = TypeVar("Result")


def run_watch(request: WatchRequest, display: WatchDisplay) -> int | None:
    """Watch until all sources are over, the time is up, or somebody stops it; then everything is committed.

    Returns:
        The number of the signal that stopped it; ``None``: none did.

    Raises:
        UsageError: the lake has another configuration, or another program writes one of the streams.
        StorageError: the lake cannot be written.
    """
    known = Dataset.at(request.out).info()
    check_known(request, known)
    with starting(request.address) as cluster:
        hardware = cluster.hardware(say=display.say)
        return asyncio.run(_Watching(request, display, known=known, hardware=hardware).run())


def check_known(request: WatchRequest, known: DatasetInfo | None) -> None:
    """Hold what is asked for against the lake, before anything is started for nothing.

    Raises:
        UsageError: the lake was made with other settings.
    """
    if known is None:
        return
    config = known.config
    wanted = replace(
        config,
        model=replace(config.model, name=request.model.name),
        sample=f"fps:{request.rate_hz}",
        precision=request.precision or config.precision,
    )
    Dataset.at(request.out).check(wanted)


class _Watching:
    def __init__(
        self, request: WatchRequest, display: WatchDisplay, *, known: DatasetInfo | None, hardware: Hardware
    ) -> None:
        self._request = request
        self._display = display
        self._known = known
        self._hardware = hardware
        self._signal: int | None = None
        self._is_stopped = asyncio.Event()

    async def run(self) -> int | None:
        """See ``run_watch``."""
        watching = asyncio.ensure_future(self._watch())
        with self._stopped_by_signals(watching):
            await asyncio.wait((watching,))
        if watching.cancelled():  # by a second signal
            return self._signal
        watching.result()
        return self._signal

    async def _watch(self) -> None:
        model, processes = self._model(), [RemoteStream() for _ in self._request.streams]
        try:
            settings = await self._unless_stopped(self._settings(model))
            if settings is not None:
                await self._watch_with(Streams(settings, processes=processes), settings)
        finally:
            await asyncio.gather(model.end(), *(process.end() for process in processes))

    async def _watch_with(self, streams: Streams, settings: StreamSettings) -> None:
        async with self._telling(streams, settings.info):
            try:
                await self._unless_stopped(self._start(streams))
                await self._play(streams)
            finally:
                ended = await streams.close()
        for status in ended:
            self._display.say(closing_line(status))

    def _model(self) -> RemoteModel:
        request, hardware = self._request, self._hardware
        return RemoteModel(
            WatchedModel(
                name=request.model.name,
                weights=request.model.weights,
                precision=self._precision,
                num_threads=hardware.num_cpus // hardware.num_nodes,
                has_gpu=hardware.num_gpus > 0,
            )
        )

    @property
    def _precision(self) -> Precision:
        usual = self._hardware.usual_precision if self._known is None else self._known.config.precision
        return self._request.precision or usual

    async def _settings(self, model: RemoteModel) -> StreamSettings:
        """Load the model, and make sure that the lake takes what it gives."""
        request = self._request
        settings = StreamSettings(
            lake=request.out,
            info=self._info(await model.load()),
            embed=model,
            heads=request.heads,
            commit_s=request.commit_s,
            publish_s=request.publish_s,
            keep_s=request.keep_s,
            stall_s=request.stall_s,
            detect_weights=request.detect_weights,
            detectors_have_gpu=self._hardware.num_gpus > 0,
        )
        names = [spec.name for spec, _ in request.streams]
        await asyncio.to_thread(LiveWriter.check, settings.lake, info=settings.info, streams=names)
        return settings

    def _info(self, model: ModelInfo) -> DatasetInfo:
        config = DatasetConfig(
            model=model,
            sample=f"fps:{self._request.rate_hz}",
            precision=self._precision,
            dtype="float32" if self._known is None else self._known.config.dtype,
        )
        return DatasetInfo(config=config, weights=self._request.model.weights)

    async def _start(self, streams: Streams) -> bool:
        """Start all of them at once."""
        starts = [streams.start(spec, source) for spec, source in self._request.streams]
        for failure in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(failure, BaseException):
                raise failure
        return True

    async def _play(self, streams: Streams) -> None:
        """Wait until all are over, the time is up, or somebody stops it."""
        played_since: float | None = None
        async with self._display.streams(streams.list):
            while not (self._is_stopped.is_set() or streams.are_over() or self._is_time_up(played_since)):
                if played_since is None and any(status.counters.pictures for status in streams.list()):
                    played_since = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await self._is_stopped.wait()

    def _is_time_up(self, played_since: float | None) -> bool:
        seconds = self._request.seconds
        return seconds is not None and played_since is not None and time.monotonic() - played_since >= seconds

    @contextlib.asynccontextmanager
    async def _telling(self, streams: Streams, info: DatasetInfo) -> AsyncIterator[None]:
        """Have all events of the streams told, to the last one, until the context is left."""
        async with event_sink(self._request.events, lake=self._request.out, info=info) as send:
            telling = asyncio.create_task(self._tell(streams.events(), send))
            telling.add_done_callback(lambda _: self._is_stopped.set())
            await asyncio.sleep(0)  # what happens from here on is heard
            yield
            await telling

    async def _tell(self, events: AsyncIterator[Event], send: Callable[[Event], None]) -> None:
        async for event in events:
            self._display.tell(event)
            send(event)

    async def _unless_stopped(self, work: Coroutine[None, None, Result]) -> Result | None:
        """What some work gives; ``None``: it was stopped by a signal meanwhile."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._is_stopped.wait())
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            return task.result()
        task.cancel()
        await asyncio.wait((task,))
        return None

    @contextlib.contextmanager
    def _stopped_by_signals(self, watching: asyncio.Future[None]) -> Iterator[None]:
        """The first signal ends all in order; a second one does not wait for the lake."""

        def on_signal(number: int) -> None:
            if self._signal is not None:
                watching.cancel()
            self._signal = number
            self._is_stopped.set()

        loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            loop.add_signal_handler(number, on_signal, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])
