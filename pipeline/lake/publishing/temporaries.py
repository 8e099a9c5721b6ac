"""Files on their way to their final names, each locked by its writer: what a dead one left behind can be told."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

_LOCKS = ".lock"
"""How the lock files beside them end, which must stay: two that wait for one of them wait for the same file."""


@contextlib.contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """A new file that ``clear`` leaves alone while the context is open.

    Not by ``tempfile``: its files are private, and would stay so under their final names.
    """
    with _created(path, "wb") as file:
        yield file


@contextlib.contextmanager
def created_to_map(path: Path) -> Iterator[BinaryIO]:
    """The same, that may be read and mapped as well."""
    with _created(path, "w+b") as file:
        yield file


@contextlib.contextmanager
def _created(path: Path, mode: Literal["wb", "w+b"]) -> Iterator[BinaryIO]:
    while True:
        with open(path, mode) as file:
            with contextlib.suppress(OSError):  # where a file system has no locks, nothing is cleared either
                fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:  # else it was cleared between its making and its lock
                yield file
                return


@contextlib.contextmanager
def created_folder(path: Path) -> Iterator[None]:
    """A new folder that ``clear`` leaves alone while the context is open, whatever it is renamed to."""
    while True:
        path.mkdir()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # cleared already
            continue
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_EX)
            if path.exists():  # else it was cleared between its making and its lock
                yield
                return
        finally:
            os.close(fd)


def clear(folder: Path) -> None:
    """Remove what nobody is writing; what the store does not let be removed stays until the next time."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(_LOCKS):
                continue
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    _remove_unless_locked(Path(entry.path))
                elif entry.is_dir(follow_symlinks=False):
                    _remove_folder_unless_locked(Path(entry.path))


def _remove_unless_locked(path: Path) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(fd)


def _remove_folder_unless_locked(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path)):  # else it got its final name meanwhile
            shutil.rmtree(path)
    finally:
        os.close(fd)
