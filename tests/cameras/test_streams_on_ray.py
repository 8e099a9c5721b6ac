"""Streams by their names, each an actor of its own: what one does, or dies of, no other notices."""

import asyncio
import contextlib
import io
import signal
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import psutil
import pytest
import ray
from conftest import ClipFactory
from other_runs import edit_lease
from patience import PATIENCE_S
from PIL import Image
from streams_on_ray import LEASE, actors, killed_elsewhere, named, reasons_of_gaps, run, until, watching

from pipeline.cameras.pulling.source import AllowedSources, Source
from pipeline.cameras.streams import NoPicture, NoSuchStream, Streams, StreamTaken
from pipeline.cluster.start import starting
from pipeline.errors import UsageError
from pipeline.lake.live import readers
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamSpec, StreamState


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    with starting(None) as cluster:
        cluster.hardware()
        yield


@pytest.fixture
def clip(clips: ClipFactory) -> str:
    return f"file:{clips(num_frames=1500, fps=5, width=320, height=180)}"  # of five minutes


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
            await until(lambda: host.streams.status("bad").state is not StreamState.PLAYING)
            await host.comes_back("bad", killed={victim})

    run(test)

    assert len(readers.sessions(str(tmp_path), "good")) == 1
    assert len(readers.sessions(str(tmp_path), "bad")) == 2
    assert "disconnected" in reasons_of_gaps(tmp_path, "bad")


@pytest.mark.soak
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
            await host.comes_back("gate", killed=killed)
            assert not looking.done(), "meanwhile there was a picture or none, and no other failure"
            looking.cancel()

    async def look_at(name: str, streams: Streams) -> None:
        while True:
            with contextlib.suppress(NoPicture):
                await streams.picture(name)
            await asyncio.sleep(0.05)

    run(test)

    assert "disconnected" in reasons_of_gaps(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("on_ray")
def test_a_stream_that_died_on_another_machine_comes_back_once_its_lease_runs_out(tmp_path: Path, clip: str) -> None:
    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            await host.samples("gate", 3)
            killed = killed_elsewhere(tmp_path, renewed_ago_s=50)
            await host.comes_back("gate", killed={killed})

    run(test)

    assert "disconnected" in reasons_of_gaps(tmp_path)


@pytest.mark.soak
@pytest.mark.usefixtures("on_ray")
def test_a_stream_that_waits_for_a_lease_to_run_out_stops_at_once(tmp_path: Path, clip: str) -> None:
    """And goes on where another host takes it up, for its own has died too."""

    async def test() -> None:
        async with watching(tmp_path) as host:
            await host.start("gate", clip)
            await host.samples("gate", 3)
            await until(lambda: readers.sessions(host.lake))  # and not killed before it is there
            killed_elsewhere(tmp_path, renewed_ago_s=-3 * PATIENCE_S)  # it does not run out in this test
            await until(lambda: host.streams.status("gate").state is StreamState.RECONNECTING and actors())
            await asyncio.sleep(3)
            began = time.monotonic()
            assert (await host.streams.stop("gate")).state is StreamState.STOPPED
            assert time.monotonic() - began < 10, "it did not wait for the lease"
            edit_lease(tmp_path / LEASE, age_s=50)
            host.streams.resume(
                StreamSpec(name="gate", source=clip, rate_hz=Fraction(5)),
                Source.parse(clip, allowed=AllowedSources().with_own(clip)),
            )
            await host.samples("gate", 3)

    run(test)

    assert len(readers.sessions(str(tmp_path), "gate")) == 2


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
