"""What Ray makes of an error and of a job, and what is told of it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

import psutil
import pytest
from patience import PATIENCE_S
from ray.exceptions import RayTaskError

from pipeline.cluster.start import cause_of, starting
from pipeline.errors import RunError, StorageError


def from_a_task(error: Exception) -> Any:
    make: Any = RayTaskError
    return make("write", "Traceback (most recent call last):\n  a line\nStorageError: ...", error)


def test_workers_error_comes_out_as_itself_without_rays_traceback() -> None:
    told = StorageError("lake: no space left: free some and run the same command again")
    assert cause_of(from_a_task(told).as_instanceof_cause()) is told
    assert cause_of(from_a_task(told)) is told


def test_rays_advice_is_left_out() -> None:
    told = StorageError("lake: no space left\nFailed to apply UDF transform after 1/1 attempts (total backoff 0.0s).")
    assert str(cause_of(from_a_task(told).as_instanceof_cause())) == "lake: no space left"


def test_driver_that_a_job_stopped_as_it_began_leaves_behind_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(RunError, match="stopped before it began"), starting("127.0.0.1:1") as cluster:
        cluster.hardware()


STOPS_WHILE_RAY_STARTS = """
import os, subprocess, sys, time
import psutil
from pipeline.cluster.start import Starting
def other():
    return subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid
before = other()
cluster = Starting(None, metrics_port=None)
print(before, other(), flush=True)
while not any(child.name() == sys.argv[1] for child in psutil.Process().children(recursive=True)):
    time.sleep(0.01)
cluster.abandon()
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("last_started", ["gcs_server", "raylet", "ray::RuntimeEnvAgent"])
def test_stopping_while_ray_starts_ends_what_it_started_and_nothing_else(last_started: str) -> None:
    mark = {"STARTED_BY": str(uuid.uuid4())}
    command = [sys.executable, "-c", STOPS_WHILE_RAY_STARTS, last_started]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, check=True, env=os.environ | mark
    )
    others = set(map(int, done.stdout.split()))
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (living := pids_with(mark)) != others:
            assert time.monotonic() < deadline, living ^ others
            time.sleep(0.1)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGKILL)


def pids_with(variables: dict[str, str]) -> set[int]:
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if variables.items() <= process.environ().items():
                found.add(process.pid)
    return found


INTERRUPTED = """
import os, threading, time
import psutil, ray
from pipeline.cluster.start import starting

@ray.remote(num_cpus=0)
def one():
    return 1

def ask():
    while True:
        ray.get(one.remote())

try:
    with starting(None) as cluster:
        cluster.hardware()
        for _ in range(8):
            threading.Thread(target=ask, daemon=True).start()
        time.sleep(3)
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        raise KeyboardInterrupt
except KeyboardInterrupt:
    os._exit(130)
"""


@pytest.mark.slow
def test_interrupted_while_threads_are_at_work_in_ray_it_ends_as_it_means_to_and_leaves_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 130, done.stderr[-2000:]
    deadline = time.monotonic() + PATIENCE_S
    while living := [pid for pid in map(int, done.stdout.split()) if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, living
        time.sleep(0.1)
