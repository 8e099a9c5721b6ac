"""File locks, waited for with patience and given back with the process that holds them."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StorageError, UsageError

# A process that is stopped keeps its locks for as long as it is stopped.
_WAIT_S = 120.0
_POLL_S = 0.05
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_NOT_WRITABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def locked(path: Path, operation: int, *, root: str, who: str) -> Iterator[None]:
    """Hold the lock of the file at ``path``, which is made where there is none.

    Args:
        path: of the lock file, in a folder that exists.
        operation: ``fcntl.LOCK_EX`` or ``LOCK_SH``.
        root: the dataset that it is part of, for messages.
        who: is likely to hold it, for messages.

    Raises:
        UsageError: the file system lets none be made, or has no locks.
        StorageError: somebody has held it for too long, or the store failed.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise refused(error, path=path) from None
    try:
        _wait(fd, operation, path=path, root=root, who=who)
        yield
    finally:
        os.close(fd)


def refused(error: OSError, *, path: Path) -> UsageError | StorageError:
    """What a file system's refusal to make ``path`` counts as."""
    kind = UsageError if error.errno in _NOT_WRITABLE else StorageError
    return kind(f"cannot write to {path}: {error.strerror}")


def _wait(fd: int, operation: int, *, path: Path, root: str, who: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            return fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{root}: {who} has been publishing for {_WAIT_S:.0f} s: "
                    "wait for it or stop it, and run the same command again"
                ) from None
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise UsageError(
                    f"the file system of {root} has no file locks ({error.strerror}), which keep two runs apart: "
                    "give another --out"
                ) from None
            raise StorageError(f"{path}: {error.strerror}") from None
