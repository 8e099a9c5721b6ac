"""One run at a time: who may take a lease, and what a run whose lease is gone may still do."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from other_runs import HOLD, PUBLISH, line, process, stop, tell

from pipeline import lease as module
from pipeline.errors import StorageError, UsageError
from pipeline.lease import LEASE, Lease, LeaseLost, fenced


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "_vidlake").mkdir()
    return tmp_path


def edit(root: Path, *, age_s: float = 0.0, **values: Any) -> None:
    """What another holder would have written, and last renewed ``age_s`` ago."""
    path = root / LEASE
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    os.utime(path, (time.time() - age_s,) * 2)


def test_second_run_is_refused_while_the_first_lives(root: Path) -> None:
    with process(HOLD, str(root)) as first:
        line(first)
        for refused in (Lease.acquire, Lease.check):
            with pytest.raises(UsageError, match=f"in use by another run .process {first.pid} on .*wait for it to end"):
                refused(root)


def test_second_run_in_the_same_process_is_refused(root: Path) -> None:
    lease = Lease.acquire(root)
    with pytest.raises(UsageError, match="in use"):
        Lease.acquire(root)
    lease.release()
    Lease.acquire(root).release()


def test_a_dead_run_does_not_block(root: Path) -> None:
    with process(HOLD, str(root)) as first:
        token = line(first)
        first.kill()
        first.wait()
        Lease.check(root)
        lease = Lease.acquire(root)
    assert lease.token != token
    lease.release()
    assert not (root / LEASE).exists()


def test_a_run_that_nobody_has_waited_for_does_not_block(root: Path) -> None:
    with process(HOLD, str(root)) as first:
        line(first)
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
        Lease.acquire(root).release()


def test_another_process_under_a_dead_runs_pid_does_not_block(root: Path) -> None:
    Lease.acquire(root)
    edit(root, start_ticks=1)
    Lease.acquire(root).release()


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
    Lease.acquire(root)
    edit(root, **elsewhere, age_s=55)
    with pytest.raises(UsageError, match="in use"):
        Lease.acquire(root)
    edit(root, age_s=61)
    Lease.acquire(root).release()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"token": "abc", "ho', id="truncated"),
        pytest.param(b"[1]", id="of-another-kind"),
        pytest.param(b'{"token": "abc"}', id="without-its-fields"),
        pytest.param(b"\xff\xfe", id="no-text"),
    ],
)
def test_damaged_lease_is_respected_for_a_minute(root: Path, content: bytes) -> None:
    (root / LEASE).write_bytes(content)
    with pytest.raises(UsageError, match="its lease is damaged"):
        Lease.acquire(root)
    with pytest.raises(LeaseLost), fenced(root, "abc"):
        pass
    os.utime(root / LEASE, (0, 0))
    Lease.acquire(root).release()


def test_stale_worker_cannot_publish_after_takeover(root: Path) -> None:
    with process(HOLD, str(root)) as first:
        token = line(first)
        with process(PUBLISH, str(root), token) as worker:
            assert line(worker) == "ready"
            stop(worker)
            first.kill()
            first.wait()
            lease = Lease.acquire(root)
            tell(worker)
            worker.send_signal(signal.SIGCONT)
            assert line(worker) == "refused"
    assert not (root / "published").exists()
    lease.release()


def test_takeover_waits_out_a_worker_in_the_middle_of_publishing(root: Path) -> None:
    with process(HOLD, str(root)) as first:
        token = line(first)
        with process(PUBLISH, str(root), token) as worker:
            line(worker)
            tell(worker)
            assert line(worker) == "inside"
            stop(worker)
            first.kill()
            first.wait()
            taken: list[bool] = []

            def take() -> None:
                lease = Lease.acquire(root)
                taken.append((root / "published").exists())
                lease.release()

            taker = threading.Thread(target=take)
            taker.start()
            taker.join(0.5)
            assert taker.is_alive()
            tell(worker)
            worker.send_signal(signal.SIGCONT)
            assert line(worker) == "published"
            taker.join(10)
    assert taken == [True]


def test_takeover_gives_up_on_a_worker_that_never_finishes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_WAIT_S", 0.2)
    with open(root / "_vidlake/lease.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with pytest.raises(StorageError, match="a worker of an earlier run has been publishing"):
            Lease.acquire(root)


def test_release_leaves_the_lease_of_another_run_alone(root: Path) -> None:
    lease = Lease.acquire(root)
    edit(root, token="another")
    lease.release()
    assert json.loads((root / LEASE).read_text())["token"] == "another"


def test_release_survives_a_dataset_that_is_gone(tmp_path: Path) -> None:
    root = tmp_path / "out"
    (root / "_vidlake").mkdir(parents=True)
    lease = Lease.acquire(root)
    shutil.rmtree(root)
    lease.release()


def test_lease_is_renewed_until_it_is_taken_over(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RENEWED_EVERY_S", 0.02)
    lease = Lease.acquire(root)
    os.utime(root / LEASE, (0, 0))
    wait_until(lambda: (root / LEASE).stat().st_mtime > 1)
    edit(root, token="another", age_s=1000)
    wait_until(lambda: not lease._thread.is_alive())
    assert (root / LEASE).stat().st_mtime < time.time() - 900
    lease.release()


def wait_until(condition: Any) -> None:
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
    monkeypatch.setattr(module, "_RENEWED_EVERY_S", 0.02)
    lease = Lease.acquire(small_disk)
    with contextlib.suppress(OSError):
        (small_disk / "filler").write_bytes(bytes(100_000))
    os.utime(small_disk / LEASE, (0, 0))
    wait_until(lambda: (small_disk / LEASE).stat().st_mtime > 1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    time.sleep(0.1)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    os.utime(small_disk / LEASE, (0, 0))
    wait_until(lambda: (small_disk / LEASE).stat().st_mtime > 1)
    lease.release()


def test_checking_writes_nothing(small_disk: Path) -> None:
    Lease.acquire(small_disk).release()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    Lease.check(small_disk)
    with pytest.raises(UsageError, match=r"cannot write to .*Read-only"):
        Lease.acquire(small_disk)


def test_checking_where_there_is_no_dataset_finds_no_lease(tmp_path: Path) -> None:
    Lease.check(tmp_path / "nothing")
    (tmp_path / "file").touch()
    Lease.check(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_file_system_without_locks_is_refused_in_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(fd: int, operation: int) -> None:  # none of the file systems here is without
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UsageError, match="has no file locks") as caught:
        Lease.acquire(root)
    assert "\n" not in str(caught.value)
