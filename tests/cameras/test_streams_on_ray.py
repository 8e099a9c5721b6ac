"""Streams by their names, each an actor of its own: what one does, or dies of, no other notices."""

import asyncio
import contextlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from fractions import Fraction
from pathlib import Path

import psutil
import pytest
import ray
from conftest import ClipFactory
from PIL import Image

from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.model_actor import RemoteModel, WatchedModel
from pipeline.cameras.pulling.source import AllowedSources, Source
from pipeline.cameras.streams import NoPicture, NoSuchStream, Streams, StreamTaken
from pipeline.cluster.start import starting
from pipeline.errors import UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live import readers
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamSpec, StreamState

WITHIN_S = 90
LEASE = "_vidlake/leases/stream:gate.json"
pytestmark = pytest.mark.timeout(6 * WITHIN_S)  # where the machine is busy, an actor takes a minute to start


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    with starting(None) as cluster:
        cluster.hardware()
        yield


@pytest.fixture
def clip(clips: ClipFactory) -> str:
    return f"file:{clips(num_frames=1500, fps=5, width=320, height=180)}"  # of five minutes


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
            stall_s=WITHIN_S,  # the camera is a file, and nothing here is about stalls
        )
        streams = Streams(settings)
        try:
            yield Watching(lake, model, streams)
        finally:
            await streams.close()
    finally:
        await model.end()


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 6 * WITHIN_S))


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


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_is_started_listed_looked_at_and_stopped_by_its_name(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            await host.samples("gate", 3)
            with pytest.raises(StreamTaken):
                await host.start("gate", clip)
            [status] = host.streams.list()
            picture = Image.open(io.BytesIO(await host.streams.picture("gate", boxes=True)))
            ended = await host.streams.stop("gate")
            for gone in (lambda: host.streams.stop("gate"), lambda: host.streams.picture("gate")):
                with pytest.raises(NoSuchStream):
                    await gone()
            await host.start("gate", clip)  # the name is free again

            assert (status.spec.name, status.state) == ("gate", StreamState.PLAYING)
            assert (picture.format, picture.size) == ("JPEG", (320, 180))
            assert ended.state is StreamState.STOPPED
            assert ended.counters.samples >= 3

    run(test)

    assert len(readers.sessions(str(tmp_path), "gate")) >= 1
    assert actors() == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_that_cannot_be_started_leaves_nothing(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            with pytest.raises(UsageError, match="no such detector"):
                await host.start("gate", clip, detect="no_such_detector")
            with pytest.raises(UsageError, match="--heads"):
                await host.start("gate", clip, head="door")
            assert host.streams.list() == []
            assert actors() == []

    run(test)


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_that_has_shown_nothing_has_no_picture(tmp_path: Path) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", "rtsp://127.0.0.1:9/cam")
            with pytest.raises(NoPicture):
                await host.streams.picture("gate")

    run(test)


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_whose_process_is_killed_comes_back_and_the_other_one_goes_on(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("bad", clip)
            await host.samples("bad", 5)
            [victim] = actors()
            await host.start("good", clip)
            await host.samples("good", 5)
            await until(lambda: len(readers.sessions(host.lake)) == 2)  # neither is killed before its own is there
            victim.send_signal(signal.SIGKILL)
            before = host.streams.status("bad").counters.samples
            await until(lambda: host.streams.status("bad").state is not StreamState.PLAYING)
            await host.samples("bad", before + 3)

    run(test)

    assert len(readers.sessions(str(tmp_path), "good")) == 1
    assert len(readers.sessions(str(tmp_path), "bad")) == 2
    assert "disconnected" in [stored.gap.reason for stored in readers.gaps(str(tmp_path), "bad")]


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_killed_whenever_it_begins_comes_back_and_tells_what_that_cost(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            looking = asyncio.create_task(look_at("gate", host.streams))
            killed: set[psutil.Process] = set()
            for _ in range(3):
                await until(lambda: set(actors()) - killed)
                [victim] = set(actors()) - killed
                victim.send_signal(signal.SIGKILL)
                killed.add(victim)
            before = host.streams.status("gate").counters.samples
            await host.samples("gate", before + 3)
            assert not looking.done(), "meanwhile there was a picture or none, and no other failure"
            looking.cancel()

    async def look_at(name: str, streams: Streams) -> None:
        while True:
            with contextlib.suppress(NoPicture):
                await streams.picture(name)
            await asyncio.sleep(0.05)

    run(test)

    assert "disconnected" in [stored.gap.reason for stored in readers.gaps(str(tmp_path), "gate")]


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_that_died_on_another_machine_comes_back_once_its_lease_runs_out(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            await host.samples("gate", 3)
            killed_elsewhere(tmp_path, renewed_ago_s=50)
            before = host.streams.status("gate").counters.samples
            await host.samples("gate", before + 3)

    run(test)

    assert "disconnected" in [stored.gap.reason for stored in readers.gaps(str(tmp_path), "gate")]


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_that_waits_for_a_lease_to_run_out_stops_at_once(tmp_path: Path, clip: str) -> None:
    """And goes on where another host takes it up, for its own has died too."""

    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            await host.samples("gate", 3)
            await until(lambda: readers.sessions(host.lake))  # and not killed before it is there
            killed_elsewhere(tmp_path, renewed_ago_s=-6 * WITHIN_S)  # it does not run out in this test
            await until(lambda: host.streams.status("gate").state is StreamState.RECONNECTING and actors())
            await asyncio.sleep(3)
            began = time.monotonic()
            assert (await host.streams.stop("gate")).state is StreamState.STOPPED
            assert time.monotonic() - began < 10, "it did not wait for the lease"
            renewed(tmp_path, ago_s=50)
            host.streams.resume(
                StreamSpec(name="gate", source=clip, rate_hz=Fraction(5)),
                Source.parse(clip, allowed=AllowedSources().with_own(clip)),
            )
            await host.samples("gate", 3)

    run(test)

    assert len(readers.sessions(str(tmp_path), "gate")) == 2


def killed_elsewhere(lake: Path, *, renewed_ago_s: float) -> None:
    """The one stream's process is killed on a machine that cannot be seen, so long after it renewed its lease."""
    [victim] = actors()
    victim.kill()
    victim.wait()
    (lake / LEASE).write_text(json.dumps(json.loads((lake / LEASE).read_text()) | {"boot_id": "another"}))
    renewed(lake, ago_s=renewed_ago_s)


def renewed(lake: Path, *, ago_s: float) -> None:
    os.utime(lake / LEASE, (time.time() - ago_s,) * 2)


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_listener_hears_each_event_once_and_goes_on_where_it_was(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            heard: list[Event] = []

            async def listen(after: str | None) -> None:
                async for event in host.streams.events(stream="gate", after=after):
                    heard.append(event)

            first = asyncio.create_task(listen(None))
            await asyncio.sleep(0)
            await host.start("other", clip)
            await host.start("gate", clip)
            await until(lambda: len(heard) >= 2)
            first.cancel()
            await host.samples("gate", 3)
            await host.streams.stop("gate")
            again = asyncio.create_task(listen(heard[0].event_id))
            del heard[1:]
            await host.streams.close()
            await again

            assert [event.label for event in heard] == ["connecting", "playing", "stopped"]
            stored = [event.event_id for event in readers.events(str(tmp_path), "gate")]
            assert [event.event_id for event in heard] == stored

    run(test)


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_listener_that_was_away_is_told_by_the_lake(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            await host.samples("gate", 3)
            await host.streams.stop("gate")
        before = list(readers.events(str(tmp_path), "gate"))
        async with watching(tmp_path) as host:
            heard: list[Event] = []
            events = host.streams.events(type=EventType.STREAM_STATE, after=before[0].event_id)
            async for event in events:
                heard.append(event)
                if len(heard) == len(before) - 1:
                    await host.start("gate", clip)
                if len(heard) > len(before):
                    break

            assert [event.label for event in heard] == ["playing", "stopped", "connecting", "playing"]

    run(test)


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_no_process_and_no_thread_is_left(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            for name in ("a", "b"):
                await host.start(name, clip)
            for name in ("a", "b"):
                await host.samples(name, 1)

    run(test)

    assert ray.is_initialized()
    assert actors() == []
    assert named("pipeline.media.process.live_child") == []
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("vidlake-puller")]
