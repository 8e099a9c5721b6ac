"""What Ray makes of an error and of a job, and what is told of it."""

import os
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest
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
import os, subprocess, time
import psutil
from pipeline.cluster.start import Starting
before = subprocess.Popen(["sleep", "60"])
cluster = Starting(None, metrics_port=None)
after = subprocess.Popen(["sleep", "60"])
me = psutil.Process()
while not any(child.name() == "gcs_server" for child in me.children()):
    time.sleep(0.01)
cluster.abandon()
deadline = time.monotonic() + 20
while len(living := [child for child in me.children() if child.status() != psutil.STATUS_ZOMBIE]) > 2:
    if time.monotonic() > deadline:
        break
    time.sleep(0.05)
print(sorted(child.pid for child in living) == sorted([before.pid, after.pid]), flush=True)
before.kill()
after.kill()
os._exit(0)
"""


@pytest.mark.slow
def test_stopping_while_ray_starts_ends_what_it_started_and_nothing_else() -> None:
    command = [sys.executable, "-c", STOPS_WHILE_RAY_STARTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "True", done.stdout + done.stderr


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
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr[-2000:]
    deadline = time.monotonic() + 10
    while living := [pid for pid in map(int, done.stdout.split()) if psutil.pid_exists(pid)]:
        assert time.monotonic() < deadline, living
        time.sleep(0.1)
