"""What Ray makes of an error, and what is told of it."""

from typing import Any

from ray.exceptions import RayTaskError

from pipeline.cluster import cause_of
from pipeline.errors import StorageError


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
