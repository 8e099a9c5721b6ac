"""Hours of a camera that comes and goes: memory, threads, files and sockets stay level."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from patience import PATIENCE_S
from scripted_pullers import Camera, ScriptedPuller, ended
from scripted_streams import ADDRESS, Model, playing, settings, spec

from pipeline.cameras.hosting.connections import Connection
from pipeline.cameras.hosting.reconnecting import BackOff
from pipeline.cameras.hosting.stream_host import StreamHost
from pipeline.cameras.pulling.pulled import Pulled


class Flaky:
    """A camera that plays for two seconds, at once, and then hangs up; each time a little later."""

    def __init__(self) -> None:
        self.num_connections = 0

    def connect(self) -> Connection:
        camera = Camera(starts_at=1_800_000_000 + 5.0 * self.num_connections)
        self.num_connections += 1
        script: list[Pulled] = [*playing(camera.frames(range(50))), ended()]
        return ScriptedPuller(script)


def use() -> tuple[float, int, int]:
    """Memory in MiB, threads and open files of this process."""
    process = psutil.Process()
    return process.memory_full_info().uss / 2**20, threading.active_count(), process.num_fds()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BackOff, "pause_s", lambda self: 0.0)


@pytest.fixture
def one_thread_of_arrow() -> Iterator[None]:
    """Arrow's pools start their threads one by one, as work happens to wait at once."""
    before = pa.io_thread_count(), pa.cpu_count()
    pa.set_io_thread_count(1)
    pa.set_cpu_count(1)
    yield
    pa.set_io_thread_count(before[0])
    pa.set_cpu_count(before[1])


@pytest.mark.parametrize(
    ("warm", "more"),
    [
        pytest.param(10, 30, marks=pytest.mark.slow),
        pytest.param(200, 3000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
@pytest.mark.usefixtures("hasty", "one_thread_of_arrow")
def test_reconnects_leave_nothing_behind(tmp_path: Path, warm: int, more: int) -> None:
    async def run() -> None:
        # asyncio's own pool of threads grows with the machine's cores and with what happens to wait at once.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        camera = Flaky()
        host = StreamHost(spec(), ADDRESS, settings(tmp_path, Model()), connect=camera.connect)
        await host.start()
        try:
            while camera.num_connections < warm:
                await asyncio.sleep(0.05)
            before = use()
            while camera.num_connections < warm + more:
                await asyncio.sleep(0.05)
            deadline = time.monotonic() + PATIENCE_S
            # A thread of a library's pool that has nothing to do ends in its own time; one that is left behind never.
            while (after := use())[1] - before[1] > 2 and time.monotonic() < deadline:
                await asyncio.sleep(0.5)
        finally:
            await host.stop()
        print(f"{more} reconnects: MiB, threads, files {before} -> {after}")  # noqa: T201  the figures of a soak
        assert after[0] - before[0] < 30
        assert after[1] - before[1] <= 2
        assert after[2] - before[2] <= 4

    asyncio.run(run())
