"""Recordings as files: closed ones are listed and removed; one that is being written appears whole when it is closed.

In a folder, a file grows under a hidden name that its writer locks: what a dead writer left can be told, and is closed
by whoever comes next. In a bucket a file is one PUT, and what a dead writer held is gone.
"""

import contextlib
import fcntl
import os
import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from typing_extensions import override

from pipeline.cameras.recordings.names import RecordingName
from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing import temporaries
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.publishing.durable_folders import make_folder, sync_folder
from pipeline.lake.publishing.store import Store
from pipeline.storage.addresses import is_local
from pipeline.storage.local import find_path

_PART = ".part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A closed recording."""

    name: RecordingName
    uri: str


class OpenFile(ABC):
    """A recording that is being written. Its methods raise ``StorageError``: the store failed."""

    @abstractmethod
    def append(self, data: bytes) -> None:
        """Add whole boxes."""

    @abstractmethod
    def finish(self, *, duration_ms: int) -> None:
        """Have it appear under its final name, durably."""

    @abstractmethod
    def abandon(self) -> None:
        """Leave it to whoever comes next."""


class RecordingFiles:
    """All recordings at one address, of every stream. Survives pickling."""

    def __init__(self, uri: str) -> None:
        """Raises ``UsageError``: recordings cannot be kept there."""
        self._store: Store = backend_at(uri).store
        self._root = Path(find_path(uri)) if is_local(uri) else None

    def ensure_writable(self) -> None:
        """Make sure that recordings can be written; makes the folder.

        Raises:
            UsageError: they cannot.
        """
        if self._root is None:
            self._store.ensure_writable()
            return
        try:
            make_folder(self._root, made=[])
            with temporaries.created(self._root / f".probe.{os.getpid()}{_PART}") as file:
                os.unlink(file.name)
        except OSError as error:
            raise UsageError(f"cannot record to {self._store.uri}: {error.strerror}") from None

    def closed(self, stream: str) -> list[Recording]:
        """The closed recordings of a stream, by time. Raises ``StorageError``: the store failed."""
        names = [(name, RecordingName.parse(name)) for name in self._store.list(stream)]
        found = [
            Recording(name=parsed, uri=f"{self._store.uri}/{name}") for name, parsed in names if parsed is not None
        ]
        return sorted(found, key=lambda each: (each.name.started_at, each.name.part))

    def begin(self, name: RecordingName) -> OpenFile:
        """Begin a recording; its duration is said when it is finished."""
        return _BucketFile(self._store, name) if self._root is None else _FolderFile(self._root, name)

    def expire(self, stream: str, *, before: datetime) -> int:
        """Remove the recordings of a stream that ended before a time; returns how many."""
        expired = [each for each in self.closed(stream) if each.name.ended_at < before]
        for each in expired:
            self._store.remove(str(each.name))
        return len(expired)

    def finish_left_over(self, stream: str) -> None:
        """Close what dead writers of a stream have left; raises ``StorageError``: the store failed."""
        if self._root is None:
            return
        try:
            for path in sorted((self._root / stream).glob(f".*{_PART}")):
                _finish_unless_locked(path, stream=stream)
        except OSError as error:
            raise StorageError(f"{self._store.uri}/{stream}: {error.strerror}") from None


class _FolderFile(OpenFile):
    def __init__(self, root: Path, name: RecordingName) -> None:
        self._root = root
        self._name = name
        self._path = _part_path(root, name)
        self._stack = contextlib.ExitStack()
        self._file: BinaryIO | None = None

    @override
    def append(self, data: bytes) -> None:
        try:
            if self._file is None:
                make_folder(self._path.parent, made=[])
                self._file = self._stack.enter_context(temporaries.created(self._path))
            self._file.write(data)
            self._file.flush()  # a process that is killed from now on has written it
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from None

    @override
    def finish(self, *, duration_ms: int) -> None:
        try:
            if self._file is not None:
                os.fsync(self._file.fileno())
                _publish(self._path, self._root / str(replace(self._name, duration_ms=duration_ms)))
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}") from None
        finally:
            self.abandon()

    @override
    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            self._stack.close()


class _BucketFile(OpenFile):
    def __init__(self, store: Store, name: RecordingName) -> None:
        self._store = store
        self._name = name
        self._parts: list[bytes] = []

    @override
    def append(self, data: bytes) -> None:
        self._parts.append(data)

    @override
    def finish(self, *, duration_ms: int) -> None:
        parts, self._parts = self._parts, []
        if parts:
            self._store.publish(str(replace(self._name, duration_ms=duration_ms)), b"".join(parts), overwrite=True)

    @override
    def abandon(self) -> None:
        self._parts = []


def _part_path(root: Path, name: RecordingName) -> Path:
    final = root / str(replace(name, duration_ms=0))
    return final.with_name(f".{final.name}{_PART}")


def _publish(part: Path, final: Path) -> None:
    os.rename(part, final)
    sync_folder(final.parent)


def _finish_unless_locked(path: Path, *, stream: str) -> None:
    """Close what a dead writer left, without what is not whole at its end; a living one's is left alone."""
    name = RecordingName.parse(f"{stream}/{path.name.removeprefix('.').removesuffix(_PART)}")
    with contextlib.suppress(FileNotFoundError, BlockingIOError), open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(file.fileno())
        if not os.path.samestat(status, os.stat(path)):
            return
        length = _whole_bytes(file)
        if name is None or not length:
            path.unlink()
            return
        file.truncate(length)
        os.fsync(file.fileno())
        lasted = timedelta(seconds=status.st_mtime) - timedelta(seconds=name.started_at.timestamp())
        duration_ms = max(0, lasted // timedelta(milliseconds=1))
        _publish(path, path.parent.parent / str(replace(name, duration_ms=duration_ms)))


def _whole_bytes(file: BinaryIO) -> int:
    """The length of the header and of all whole fragments behind it; 0: there is none, so nothing can be read."""
    file_bytes = file.seek(0, os.SEEK_END)
    at = whole = 0
    has_fragment = False
    while at + 8 <= file_bytes:
        file.seek(at)
        size, kind = struct.unpack(">I4s", file.read(8))
        if size < 8 or at + size > file_bytes:
            break
        at += size
        if kind == b"mdat":  # the content of the fragment whose description, moof, stands before it
            has_fragment, whole = True, at
    return whole if has_fragment else 0
