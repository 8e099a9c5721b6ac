"""Leases in a folder: the lock that a takeover waits for, and disks that are full, read-only or without locks."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from other_runs import HOLD, edit_lease, kill, line, process, stop, tell, worker_inside

from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing import folder_lease, folder_locks, heartbeat
from pipeline.lake.publishing.folder_lease import FolderLease, fenced
from pipeline.lake.publishing.folder_store import FolderStore
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.records.shards import WHOLE

LEASE = "_vidlake/leases/1-of-1.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "_vidlake").mkdir()
    return tmp_path


def acquire(root: Path) -> FolderLease:
    return FolderLease.acquire(FolderStore(str(root)), slot=WHOLE)


def check(root: Path) -> None:
    folder_lease.check(FolderStore(str(root)), slot=WHOLE)


def edit(root: Path, *, age_s: float = 0.0, **values: str) -> None:
    edit_lease(root / LEASE, age_s=age_s, **values)


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param({"boot_id": "another"}, id="another-machine-or-boot"),
        pytest.param({"pid_namespace": "pid:[1]"}, id="another-container"),
    ],
)
def test_a_run_that_cannot_be_seen_holds_for_a_minute_after_its_last_renewal(
    root: Path, elsewhere: dict[str, str]
) -> None:
    acquire(root)
    edit(root, **elsewhere, age_s=55)
    with pytest.raises(UsageError, match="in use"):
        acquire(root)
    edit(root, age_s=61)
    acquire(root).release()


@pytest.mark.parametrize("ahead_s", [90, -90, 86_400 * 365, -86_400 * 365])
def test_a_run_elsewhere_is_judged_by_the_file_systems_clock_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: int
) -> None:
    acquire(root)
    edit(root, boot_id="another", age_s=50)
    right_s = time.time
    monkeypatch.setattr(time, "time", lambda: right_s() + ahead_s)
    with pytest.raises(UsageError, match="in use"):
        acquire(root)
    os.utime(root / LEASE, (right_s() - 61,) * 2)
    check(root)
    acquire(root).release()


def test_checking_by_a_clock_that_is_behind_leaves_the_judgement_to_who_takes_the_lease(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire(root)
    edit(root, boot_id="another")
    right_s = time.time
    monkeypatch.setattr(time, "time", lambda: right_s() - 90)
    check(root)
    with pytest.raises(UsageError, match="in use"):
        acquire(root)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"token": "1-of-1.abc", "ho', id="truncated"),
        pytest.param(b"[1]", id="of-another-kind"),
        pytest.param(b'{"token": "1-of-1.abc"}', id="without-its-fields"),
        pytest.param(b"\xff\xfe", id="no-text"),
    ],
)
def test_damaged_lease_is_respected_for_a_minute(root: Path, content: bytes) -> None:
    (root / LEASE).parent.mkdir()
    (root / LEASE).write_bytes(content)
    with pytest.raises(UsageError, match="its lease is damaged"):
        acquire(root)
    with pytest.raises(LeaseLost), fenced(FolderStore(str(root)), "1-of-1.abc"):
        pass
    os.utime(root / LEASE, (0, 0))
    acquire(root).release()


def test_takeover_waits_out_a_worker_in_the_middle_of_publishing(root: Path) -> None:
    with process(HOLD, str(root), "1/1") as first:
        token = line(first)
        with worker_inside(str(root), token) as worker:
            stop(worker)
            kill(first)
            taken: list[bool] = []

            def take() -> None:
                held = acquire(root)
                taken.append((root / "features/x").exists())
                held.release()

            taker = threading.Thread(target=take)
            taker.start()
            taker.join(0.5)
            assert taker.is_alive()
            tell(worker)
            worker.send_signal(signal.SIGCONT)
            assert line(worker) == "published"
            taker.join(60)
    assert taken == [True]


def test_takeover_gives_up_on_a_worker_that_never_finishes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_locks, "_WAIT_S", 0.2)
    (root / "_vidlake/leases").mkdir()
    with open(root / "_vidlake/leases/1-of-1.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(StorageError, match="a worker of an earlier run has been publishing"):
            acquire(root)


def test_release_leaves_the_lease_of_another_run_alone(root: Path) -> None:
    held = acquire(root)
    edit(root, token="1-of-1.another")
    held.release()
    assert json.loads((root / LEASE).read_text())["token"] == "1-of-1.another"


def test_release_survives_a_dataset_that_is_gone(tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "_vidlake").mkdir(parents=True)
    held = acquire(root)
    shutil.rmtree(root)
    held.release()


def test_lease_is_renewed_until_it_is_taken_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.02)
    held = acquire(root)
    os.utime(root / LEASE, (0, 0))
    wait_until(lambda: (root / LEASE).stat().st_mtime > 1)
    edit(root, token="1-of-1.another", age_s=1000)
    wait_until(lambda: not held._heartbeat.is_beating)
    assert (root / LEASE).stat().st_mtime < time.time() - 900
    held.release()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=False, stderr=subprocess.DEVNULL
    )
    if mounted.returncode:
        pytest.skip("no file systems can be mounted here")
    (disk / "_vidlake").mkdir()
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_renewing_goes_on_while_the_disk_is_full_and_after_it_was_read_only(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.02)
    held = acquire(small_disk)
    with contextlib.suppress(OSError):
        (small_disk / "filler").write_bytes(bytes(100_000))
    os.utime(small_disk / LEASE, (0, 0))
    wait_until(lambda: (small_disk / LEASE).stat().st_mtime > 1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    time.sleep(0.1)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    os.utime(small_disk / LEASE, (0, 0))
    wait_until(lambda: (small_disk / LEASE).stat().st_mtime > 1)
    held.release()


def test_checking_writes_nothing(small_disk: Path) -> None:
    acquire(small_disk).release()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    check(small_disk)
    with pytest.raises(UsageError, match=r"cannot write to .*Read-only"):
        acquire(small_disk)


def test_checking_where_there_is_no_dataset_finds_no_lease(tmp_path: Path) -> None:
    check(tmp_path / "nothing")
    (tmp_path / "file").touch()
    check(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_file_system_without_locks_is_refused_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:  # none of the file systems here is without
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match="has no file locks") as caught:
        acquire(root)
    assert "\n" not in str(caught.value)
