"""What Ray makes of an error and of a job, and what is told of it."""

import os
from typing import Any

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
