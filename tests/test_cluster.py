"""What Ray makes of an error, and what is told of it."""

from ray.exceptions import RayTaskError

from pipeline.cluster import cause_of
from pipeline.errors import StorageError


def test_workers_error_comes_out_as_itself_without_rays_traceback() -> None:
    told = StorageError("lake: no space left: free some and run the same command again")
    task = RayTaskError("write", "Traceback (most recent call last):\n  a line\nStorageError: ...", told)
    assert cause_of(task.as_instanceof_cause()) is told
    assert cause_of(task) is told
