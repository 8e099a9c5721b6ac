"""What may go wrong on a cluster, on a real one of several nodes: nothing is lost, doubled, or blamed on a video."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import psutil
import pyarrow.parquet as pq
import pytest
from archive_server import ArchiveHandler
from clusters import LocalCluster, Node
from conftest import ClipFactory
from lakes import MODEL, assert_same, features, started, statuses, table, vidlake
from patience import PATIENCE_S
from typing_extensions import override

pytestmark = pytest.mark.slow

NUM_VIDEOS = 6
# Of a second each, and small files: there is always something done, and something to do.
HOW = [*MODEL, "--sample", "all", "--segment-seconds", "1", "--rows-per-file", "25", "--json"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, clips: ClipFactory) -> Path:
    """Six videos of 6 s."""
    folder = tmp_path_factory.mktemp("archive")
    for index in range(NUM_VIDEOS):
        os.link(clips(num_frames=150, gop=25, seed=index), folder / f"{index}.mp4")
    return folder


@pytest.fixture(scope="module")
def calm(archive: Path, tmp_path_factory: pytest.TempPathFactory, two_nodes: LocalCluster) -> Path:
    """The dataset of a run that nothing happened to."""
    out = tmp_path_factory.mktemp("calm") / "lake"
    vidlake("extract", archive, "--out", out, *HOW, "--address", two_nodes.address)
    return out


class Running:
    """An ``extract`` at work."""

    def __init__(self, *words: object) -> None:
        self._process = started(*words, stderr=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def until(self, is_so: Callable[[], object], *, may_end: bool = False) -> None:
        while not is_so():
            assert may_end or not self.has_ended, f"it ended before: {self._process.communicate()}"
            time.sleep(0.05)

    def ends(self, *, status: int) -> str:
        """Its stdout, or of a failure its one line."""
        told, errors = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == status, told + errors
        assert "Traceback" not in errors
        return told if status in (0, 3) else errors.splitlines()[-1]


def assert_whole(summary: str, out: Path, calm: Path) -> None:
    """The summary tells what is there, and it is what an undisturbed run makes."""
    totals = json.loads(summary)["totals"]
    assert totals["videos"]["ok"] == NUM_VIDEOS
    assert totals["num_samples"] == len(features(out)) == len(features(calm))
    assert totals["num_pending"] == 0
    assert totals["reasons"] == {}
    assert_same(features(out), features(calm))


def some_features(out: Path) -> bool:
    return (out / "features").exists() and any((out / "features").iterdir())


def is_planned(out: Path) -> bool:
    return (out / "_vidlake" / "plan").exists() and any((out / "_vidlake" / "plan").iterdir())


def workers(node: Node, stage: str) -> list[psutil.Process]:
    """The processes of Ray that are at work on a stage now, on this node."""
    found = []
    for process in node.family():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            title = " ".join(process.cmdline())
            if title.startswith("ray::") and stage in title:
                found.append(process)
    return found


def find_workers(cluster: LocalCluster, stage: str, found: list[psutil.Process]) -> bool:
    """Add those of a whole cluster to ``found``."""
    for node in cluster.nodes:
        found += workers(node, stage)
    return bool(found)


def test_lost_node_costs_only_time(archive: Path, calm: Path, tmp_path: Path, two_nodes: LocalCluster) -> None:
    """What was sized for both nodes ends on the one that is left, which gets no more tasks than it has CPUs."""
    out = tmp_path / "lake"
    survivor, victim = two_nodes.nodes
    most_at_once = 0

    def count_tasks() -> bool:
        nonlocal most_at_once
        most_at_once = max(most_at_once, len(workers(survivor, "MapBatches(decode_and_embed)")))
        return run.has_ended

    run = Running("extract", archive, "--out", out, *HOW, "--address", two_nodes.address)
    try:
        run.until(lambda: is_planned(out) and workers(victim, "MapBatches"))
        victim.raylet().kill()
        run.until(count_tasks, may_end=True)
        assert_whole(run.ends(status=0), out, calm)
        assert most_at_once <= 1
    finally:
        two_nodes.remove(victim)
        two_nodes.add_node()


def test_killed_workers_are_replaced(archive: Path, calm: Path, tmp_path: Path, two_nodes: LocalCluster) -> None:
    out = tmp_path / "lake"
    run = Running("extract", archive, "--out", out, *HOW, "--address", two_nodes.address)
    for stage in ("decode_and_embed", "Embed"):
        victims: list[psutil.Process] = []
        run.until(partial(find_workers, two_nodes, stage, victims))
        victims[0].kill()
    assert_whole(run.ends(status=0), out, calm)


@pytest.mark.soak
def test_killed_driver_of_a_job_resumes_when_submitted_again(
    archive: Path, calm: Path, tmp_path: Path, two_nodes: LocalCluster
) -> None:
    out = tmp_path / "lake"
    words = ["submit", "--address", two_nodes.job_server, "--working-dir", tmp_path, "extract", archive, "--out", out]
    run = Running(*words, *HOW)
    run.until(lambda: some_features(out))
    holder = json.loads((out / "_vidlake/leases/1-of-1.json").read_text())
    os.kill(int(holder["pid"]), signal.SIGKILL)
    assert "submit it again to resume" in run.ends(status=1)
    assert_whole(vidlake(*words, *HOW).stdout, out, calm)


class Store(ArchiveHandler):
    """Has its moods."""

    away_until = 0.0
    num_refused = 0
    replacement: Path | None = None
    num_asked_who: ClassVar[Counter[str]]
    """How often each object was asked for its first byte alone: to list it, after planning it, after decoding it."""

    @override
    def asked(self, path: Path) -> None:
        kind = type(self)
        if time.monotonic() < kind.away_until:
            kind.num_refused += 1
            self.send_error(503)
            return
        kind.num_asked_who[path.name] += self.wanted()[1] == 0
        if kind.replacement is not None and path.name == "0.mp4" and kind.num_asked_who[path.name] > 2:
            path = kind.replacement
        self.answer(path)


@pytest.fixture
def store(archive: Path) -> Iterator[tuple[type[Store], list[str]]]:
    """The archive behind http, and the addresses of its videos."""
    moody = type("MoodyStore", (Store,), {"folder": archive, "num_asked_who": Counter()})
    with ThreadingHTTPServer(("127.0.0.1", 0), moody) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield moody, [f"http://127.0.0.1:{server.server_port}/{index}.mp4" for index in range(NUM_VIDEOS)]
        server.shutdown()


@pytest.mark.soak
def test_store_that_is_away_for_20_seconds_is_waited_for(
    store: tuple[type[Store], list[str]], calm: Path, tmp_path: Path, two_nodes: LocalCluster
) -> None:
    moody, addresses = store
    out = tmp_path / "lake"
    run = Running("extract", *addresses, "--out", out, *HOW, "--address", two_nodes.address)
    run.until(lambda: is_planned(out))
    moody.away_until = time.monotonic() + 20
    assert_whole(run.ends(status=0), out, calm)
    assert moody.num_refused > 0, "nobody noticed"
    assert len(table(out, "quarantine")) == 0


@pytest.mark.soak
def test_video_replaced_while_it_is_read_costs_that_video_and_is_new_in_the_next_run(
    store: tuple[type[Store], list[str]], calm: Path, clips: ClipFactory, tmp_path: Path, two_nodes: LocalCluster
) -> None:
    moody, addresses = store
    moody.replacement = clips(num_frames=50, gop=25, seed=77)
    out = tmp_path / "lake"
    words = ["extract", *addresses, "--out", out, *HOW, "--address", two_nodes.address]
    told = json.loads(vidlake(*words, "--strict", status=3).stdout)
    assert set(told["totals"]["reasons"]) == {"changed"}
    assert Counter(statuses(out).values()) == {"ok": NUM_VIDEOS - 1, "failed": 1}
    others = {key: row for key, row in features(calm).items() if key[0] != "0.mp4"}
    assert_same(features(out), others)
    vidlake(*words)
    videos = [row for row in table(out, "videos").to_pylist() if row["uri"].endswith("/0.mp4")]
    assert sorted((row["is_current"], row["status"], row["num_samples"]) for row in videos) == [
        (False, "failed", 0),
        (True, "ok", 50),
    ]
    assert_same({key: row for key, row in features(out).items() if key[0] != "0.mp4"}, others)


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, *options: str) -> None:
    subprocess.run(["mount", "-o", ",".join(["remount", *options]), str(folder)], check=True)


def test_full_disk_fails_the_run_which_resumes_when_there_is_room(
    archive: Path, calm: Path, tmp_path: Path, two_nodes: LocalCluster
) -> None:
    with mounted(tmp_path / "disk", "size=600k") as disk:
        out = disk / "lake"
        words = ["extract", archive, "--out", out, *HOW, "--address", two_nodes.address]
        said = vidlake(*words, status=1).stderr.splitlines()
        assert "no space left" in said[-1]
        stored = [pq.read_metadata(file).num_rows for file in (out / "features").glob("*.parquet")]
        assert sum(stored) < len(features(calm))
        remount(disk, "size=64m")
        assert_whole(vidlake(*words).stdout, out, calm)


def test_read_only_out_is_refused_and_left_as_it_was(archive: Path, tmp_path: Path, two_nodes: LocalCluster) -> None:
    with mounted(tmp_path / "disk", "size=1m") as disk:
        remount(disk, "ro")
        words = ["extract", archive, "--out", disk / "lake", *HOW, "--address", two_nodes.address]
        [said] = vidlake(*words, status=2).stderr.splitlines()
        assert "read-only" in said
        assert list(disk.iterdir()) == []
