"""What all tests share: a home of their own, and small videos that are made here and depend on no file outside."""

import contextlib
import gc
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from av.video.stream import VideoStream
from clusters import LocalCluster, joined, local_cluster, ray_of_two_cpus
from command import no_more_commands
from numpy.typing import NDArray
from patience import PATIENCE_S
from side_by_side import FileByFile, choose_quick_ones, put_in_turn
from stores import ObjectStore, SharedServers, only_variables, shared_server
from videos import as_ordinary_as_before
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from pipeline.lake.publishing.heartbeat import Heartbeat

gc.disable()  # until all is imported: looking again and again at what stays anyway takes a third of that time
FOLDERS = sorted({path.parent for path in Path(__file__).parent.rglob("*.py")})
"""Of the tests and of what they share."""
TICK = Fraction(1, 1000)  # of the times that a clip's ``pts`` gives
_TOLD_AT_ONCE = 4000  # characters
_STATUS = pytest.StashKey[int]()
_SERVERS = pytest.StashKey[SharedServers]()


@dataclass(frozen=True, slots=True)
class ClipFactory:
    """Makes a video on the first call with these parameters, and hands out the same file on every later one."""

    folder: Path

    def __call__(
        self,
        *,
        codec: str = "libx264",
        container: str = "mp4",
        width: int = 160,
        height: int = 96,
        fps: Fraction | int = 25,
        num_frames: int = 50,
        gop: int = 12,
        bframes: int = 2,
        pix_fmt: str = "yuv420p",
        options: Mapping[str, str] | None = None,
        container_options: Mapping[str, str] | None = None,
        pts: Callable[[int], int] | None = None,
        rotation: int = 0,
        seed: int = 0,
    ) -> Path:
        """Encode moving shapes over noise.

        Args:
            codec: FFmpeg's name of an encoder.
            container: the file's extension, which chooses the muxer.
            width: in pixels, even.
            height: in pixels, even.
            fps: the frame rate, or with ``pts`` only what the header claims.
            num_frames: how many frames.
            gop: the largest distance of keyframes, in frames.
            bframes: the longest run of B-frames, for encoders that have them.
            pix_fmt: the pixel format that is encoded.
            options: further options of the encoder.
            container_options: options of the muxer.
            pts: a frame's number to its time in milliseconds; without it the rate is constant.
            rotation: degrees anticlockwise that a player turns the picture by.
            seed: of the noise.
        """
        times = None if pts is None else [pts(index) for index in range(num_frames)]
        encoder = {"g": str(gop), "bf": str(bframes), **_defaults(codec), **(options or {})}
        recipe = (codec, width, height, fps, num_frames, pix_fmt, encoder, container_options, times, rotation, seed)
        path = self.folder / f"{hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]}.{container}"
        if path.exists():
            return path
        with av.open(str(path), "w", options=dict(container_options or {})) as out:
            stream = out.add_stream(codec, rate=Fraction(fps), options=encoder)
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
            if rotation:
                stream.set_display_rotation(rotation)
            if times is not None:
                stream.codec_context.time_base = TICK
            for index, picture in enumerate(pictures(num_frames, width=width, height=height, seed=seed)):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.time_base = 1 / Fraction(fps) if times is None else TICK
                frame.pts = index if times is None else times[index]
                out.mux(stream.encode(frame))
            out.mux(stream.encode())
        as_ordinary_as_before()
        return path


def _defaults(codec: str) -> dict[str, str]:
    """One thread, so that a clip's bytes are the same on every machine; and each encoder's fast way."""
    fast = {
        "libx264": {"preset": "veryfast"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=error:pools=none:frame-threads=1"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
        "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
    }
    return {"threads": "1", **fast.get(codec, {})}


def pictures(num_frames: int, *, width: int, height: int, seed: int = 0) -> Iterator[NDArray[Any]]:
    """RGB ``uint8[height, width, 3]``: a square and a bar that move over still noise; no two frames are alike."""
    noise = np.random.default_rng(seed).integers(0, 64, (height, width, 3), dtype=np.uint8)
    side = max(4, height // 4)
    for index in range(num_frames):
        picture = noise.copy()
        left, top = (index * 3) % (width - side), (index * 2) % (height - side)
        picture[top : top + side, left : left + side] = (230, 40 + index % 200, 60)
        picture[:, (index * 5) % width] = (40, 220, 250)
        yield picture


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses"):
        config.stash[_SERVERS] = SharedServers()


def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["stores"] = str(node.config.stash[_SERVERS].folder)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    return FileByFile(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Of tests side by side: tell at once what failed, for a run that is stopped from outside has no summary."""
    if report.failed and hasattr(report, "node"):
        sys.stdout.write(f"\n{report.when} of {report.nodeid}\n{report.longreprtext[-_TOLD_AT_ONCE:]}\n")


@pytest.hookimpl(tryfirst=True)  # before those that are not asked for are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    put_in_turn(items)
    choose_quick_ones(items)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = exitstatus


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave at once, as the command itself does; see ``nothing_left_behind``.

    The threads of Ray, gRPC, torch and Arrow are still there when the interpreter takes itself apart, and one such end
    hung after all tests had passed.
    """
    if _SERVERS in config.stash:
        config.stash[_SERVERS].stop()
    if _STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(config.stash[_STATUS]))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipFactory:
    """Makes small videos; see ``ClipFactory``."""
    return ClipFactory(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def no_beat_of_another_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leases that a test leaves behind do not ask the stores of the next one."""
    left: list[Heartbeat] = []
    start = Heartbeat.__init__

    def remember(heartbeat: Heartbeat, beat: Callable[[], None]) -> None:
        start(heartbeat, beat)
        left.append(heartbeat)

    monkeypatch.setattr(Heartbeat, "__init__", remember)
    yield
    for heartbeat in left:
        heartbeat.stop()


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Tests leave neither processes nor threads that would hold up the end of an ordinary program."""
    yield
    no_more_commands()
    deadline = time.monotonic() + PATIENCE_S
    while (left := _left_behind()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"left behind by the tests: {left}"


def _left_behind() -> list[str]:
    me = threading.main_thread()
    threads = [thread for thread in threading.enumerate() if not thread.daemon and thread is not me]
    # An executor's threads wait for work, and end with the interpreter.
    names = [thread.name for thread in threads if not thread.name.startswith("ThreadPoolExecutor")]
    left = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(child.cmdline())[:200])
    return [*names, *left]


@pytest.fixture(scope="session", autouse=True)
def isolated_home(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder of the tests' own; Ray neither writes its token there nor asks for one, and reports to nobody.

    Ray's workers find the tests' modules too, and with them what a test defines. They are as nice as the tests beside
    them: with Ray's own niceness of 15, a cluster waits until all the other tests are done.
    """
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, FOLDERS)), prepend=os.pathsep)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        yield home


@pytest.fixture(scope="session")
def shared_stores(pytestconfig: pytest.Config) -> str | None:
    """The folder of the stores that all processes of this run share, where there are several."""
    workerinput: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    return workerinput.get("stores")


@pytest.fixture(scope="session")
def s3_store(shared_stores: str | None) -> Iterator[ObjectStore]:
    """S3, as moto speaks it."""
    with shared_server("s3", shared_stores) as running:
        yield running


@pytest.fixture(scope="session")
def azure_store(shared_stores: str | None) -> Iterator[ObjectStore]:
    """Azure Blob Storage, as Azurite speaks it."""
    with shared_server("azure", shared_stores) as running:
        yield running


@pytest.fixture(scope="session")
def gcs_store(shared_stores: str | None) -> Iterator[ObjectStore]:
    """Google Cloud Storage, as fake-gcs-server lets it be read."""
    with shared_server("gcs", shared_stores) as running:
        yield running


@pytest.fixture(params=["s3", "azure"])
def store(request: pytest.FixtureRequest) -> Iterator[ObjectStore]:
    """Each object store that takes writes, in turn, and the variables set with which it is found."""
    running: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    with only_variables(running.environment()):
        yield running


@pytest.fixture
def bucket(store: ObjectStore) -> str:
    """The address of a new bucket, without a slash at its end."""
    return store.new_bucket()


@pytest.fixture(params=["folder", "s3", "azure"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a new dataset may lie: in a folder, and in each object store."""
    if request.param == "folder":
        yield str(tmp_path / "lake")
        return
    running: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    with only_variables(running.environment()):
        yield f"{running.new_bucket()}/lake"


@pytest.fixture
def bucket_place(bucket: str) -> str:
    """Where a new dataset may lie in each object store."""
    return f"{bucket}/lake"


@pytest.fixture(scope="session")
def shared_ray() -> Iterator[str]:
    """The address of a Ray of two CPUs that nobody harms: commands join it, and need not start one each."""
    with ray_of_two_cpus() as address:
        yield address


@pytest.fixture(scope="module")
def in_shared_ray(shared_ray: str) -> Iterator[None]:
    """The tests themselves are a driver of that Ray."""
    with joined(shared_ray):
        yield


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[LocalCluster]:
    """A cluster of two nodes of a CPU each, begun with ``ray start``."""
    with local_cluster(num_nodes=2) as cluster:
        yield cluster
