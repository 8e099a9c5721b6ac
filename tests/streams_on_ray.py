"""Streams on Ray, each an actor that a test can find and kill."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction
from pathlib import Path

import psutil
from other_runs import edit_lease
from patience import PATIENCE_S

from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.model_actor import RemoteModel, WatchedModel
from pipeline.cameras.pulling.source import AllowedSources, Source
from pipeline.cameras.streams import Streams
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live import readers
from pipeline.records.streams import StreamSpec

LEASE = "_vidlake/leases/stream:gate.json"


class Watching:
    """A host of streams with a model of its own, in the event loop of one test."""

    def __init__(self, lake: Path, model: RemoteModel, streams: Streams) -> None:
        self.lake = str(lake)
        self.model = model
        self.streams = streams

    async def start(self, name: str, source: str, **how: object) -> None:
        spec = StreamSpec(name=name, source=source, rate_hz=Fraction(5), **how)  # type: ignore[arg-type]
        await self.streams.start(spec, Source.parse(source, allowed=AllowedSources().with_own(source)))

    async def samples(self, name: str, number: int) -> None:
        await until(lambda: self.streams.status(name).counters.samples >= number)

    async def comes_back(self, name: str, *, killed: set[psutil.Process]) -> None:
        """A new process shows samples; a killed one may have told of some before anybody knew that it was dead."""
        await until(lambda: len(set(actors()) - killed) == len(self.streams.list()))
        told = self.streams.status(name).counters.samples
        await self.samples(name, told + 3)


@contextlib.asynccontextmanager
async def watching(lake: Path) -> AsyncIterator[Watching]:
    model = RemoteModel(
        WatchedModel(name="video_cnn", weights="random:0", precision="fp32", num_threads=1, has_gpu=False)
    )
    try:
        config = DatasetConfig(model=await model.load(), sample="fps:5", precision="fp32", dtype="float32")
        settings = StreamSettings(
            lake=str(lake),
            info=DatasetInfo(config=config, weights="random:0"),
            embed=model,
            commit_s=0.3,
            publish_s=1.0,
            stall_s=PATIENCE_S,  # the camera is a file, and nothing here is about stalls
        )
        streams = Streams(settings)
        try:
            yield Watching(lake, model, streams)
        finally:
            await streams.close()
    finally:
        await model.end()


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 3 * PATIENCE_S))


def named(word: str) -> list[psutil.Process]:
    """Our processes that live and are called so."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie's words cannot be read either
            found += [process] if word in " ".join(process.cmdline()) else []
    return found


def actors() -> list[psutil.Process]:
    """The processes of streams."""
    return named("StreamActor")


def killed_elsewhere(lake: Path, *, renewed_ago_s: float) -> psutil.Process:
    """The one stream's process is killed on a machine that cannot be seen, so long after it renewed its lease."""
    [victim] = actors()
    victim.kill()
    victim.wait()
    edit_lease(lake / LEASE, age_s=renewed_ago_s, boot_id="another")
    return victim


def reasons_of_gaps(lake: Path, stream: str = "gate") -> list[str]:
    return [stored.gap.reason for stored in readers.gaps(str(lake), stream)]
