"""A dataset in a folder of this machine's file system, network mounts included.

A file is there whole under its final name, or it is not there.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import pyarrow as pa
from typing_extensions import override

from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing import temporaries
from pipeline.lake.publishing.durable_folders import is_folder, make_folder, publish_files, sync_folder
from pipeline.lake.publishing.folder_locks import locked
from pipeline.lake.publishing.store import FOLDER_MARK, TEMPORARIES, MissingFile, Store
from pipeline.storage.addresses import scheme_of, shown
from pipeline.storage.local import find_path
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy, Transient, persistently

Result = TypeVar("Result")

_WHAT_TO_DO = {
    errno.ENOSPC: "no space left: free some and run the same command again",
    errno.EDQUOT: "the disk quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: make it writable or give another --out",
    errno.EACCES: "permission denied: make the folder writable or give another --out",
    errno.EPERM: "the file system permits no writing or no hard links: give another --out",
    errno.EOPNOTSUPP: "the file system has no hard links, which publishing needs: give another --out",
    errno.ENOSYS: "the file system has no hard links, which publishing needs: give another --out",
    errno.ENOTDIR: "a part of the path is a file: give another --out",
    errno.EEXIST: "a part of the path is a file: give another --out",
    errno.EISDIR: "is a folder where a file should be: give another --out",
    errno.ENAMETOOLONG: "the path is too long: give another --out",
    errno.ELOOP: "a symbolic link that leads nowhere: give another --out",
}


class FolderStore(Store):
    """A folder of this machine's file system, network mounts included.

    Attributes:
        root: the folder.
    """

    def __init__(self, root_uri: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        if scheme_of(root_uri) != "file":
            raise ValueError(f"not a local folder: {root_uri!r}")
        self.root = Path(find_path(root_uri))
        self._temporaries = self.root / TEMPORARIES
        self._retry = retry

    @property
    @override
    def uri(self) -> str:
        return shown(str(self.root))

    def exists(self) -> bool:
        """Whether the folder is there, whatever it holds."""
        return self._persistently(lambda: is_folder(self.root), name="")

    @override
    def folders(self, folder: str) -> list[str]:
        path = self._path(folder) if folder else self.root
        return self._persistently(lambda: sorted(_folder_names(path)), name=folder)

    @override
    def list(self, folder: str) -> list[str]:
        path = self._path(folder)
        return self._persistently(lambda: sorted(f"{folder}/{name}" for name in _file_names(path)), name=folder)

    @override
    def versions(self, folder: str) -> dict[str, str]:
        versions = ((name, self.version(name)) for name in self.list(folder))
        return {name: version for name, version in versions if version is not None}

    @override
    def version(self, name: str) -> str | None:
        return self._persistently(partial(_version, self._path(name)), name=name)

    @override
    def read(self, name: str) -> bytes:
        return self._persistently(self._path(name).read_bytes, name=name)

    @override
    def open_input(self, name: str) -> pa.NativeFile:
        return self._persistently(partial(pa.OSFile, str(self._path(name)), "rb"), name=name)

    @override
    def publish(self, name: str, data: bytes, *, overwrite: bool = False) -> bool:
        publish = partial(_publish, data, temporary=self._temporary(name), final=self._path(name), overwrite=overwrite)
        return self._persistently(publish, name=name)

    @override
    def publish_folder(self, name: str, files: Mapping[str, bytes]) -> bool:
        if FOLDER_MARK not in files:
            raise ValueError(f"a folder without {FOLDER_MARK} cannot be told from half a one: {name}")
        publish = partial(publish_files, files, temporary=self._temporary(name), final=self._path(name))
        return self._persistently(publish, name=name)

    @override
    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        self._persistently(lambda: make_folder(self._temporaries, made=[]), name=name)
        with locked(self._temporaries / "replace.lock", fcntl.LOCK_EX, root=self.uri, who="another run"):
            return self.version(name) == version and self.publish(name, data, overwrite=True)

    @override
    def remove(self, name: str) -> None:
        self._persistently(partial(self._path(name).unlink, missing_ok=True), name=name)

    @override
    def remove_folder(self, name: str) -> None:
        with contextlib.suppress(MissingFile):
            self._persistently(partial(shutil.rmtree, self._path(name)), name=name)

    @override
    def ensure_writable(self) -> None:
        """As ``Store.ensure_writable``; makes the folder."""
        made: list[Path] = []
        probe = self._temporaries / f"probe.{uuid.uuid4().hex}"
        try:
            make_folder(self._temporaries, made=made)
            _publish(b"vidlake", temporary=probe, final=probe.with_suffix(".linked"), overwrite=False)
            probe.with_suffix(".linked").unlink(missing_ok=True)
        except OSError as error:
            with contextlib.suppress(OSError):
                probe.with_suffix(".linked").unlink(missing_ok=True)
            for folder in reversed(made):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            advice = _WHAT_TO_DO.get(error.errno or 0)
            if advice is None:
                raise StorageError(f"{self.uri}: {error.strerror}") from None
            raise UsageError(f"cannot write to {self.uri}: {advice}") from None

    @override
    def clear_temporaries(self) -> None:
        temporaries.clear(self._temporaries)

    def _temporary(self, name: str) -> Path:
        return self._temporaries / f"{PurePosixPath(name).name}.{uuid.uuid4().hex}"

    def _path(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/"):
            raise ValueError(f"not a name inside a dataset: {name!r}")
        return self.root.joinpath(*parts)

    def _persistently(self, call: Callable[[], Result], *, name: str) -> Result:
        uri = os.path.join(self.uri, name)

        def attempt() -> Result:
            try:
                return call()
            except OSError as error:
                raise _judged(error, uri=uri) from None

        return persistently(attempt, uri=uri, retry=self._retry)


def _judged(error: OSError, *, uri: str) -> StorageError | Transient:
    """What an error counts as: final, or one that may pass."""
    if error.errno == errno.ENOENT:
        return MissingFile(f"{uri}: not in the dataset")
    advice = _WHAT_TO_DO.get(error.errno or 0)
    return Transient(error.strerror or type(error).__name__) if advice is None else StorageError(f"{uri}: {advice}")


def _publish(data: bytes, *, temporary: Path, final: Path, overwrite: bool) -> bool:
    for folder in (temporary.parent, final.parent):
        make_folder(folder, made=[])
    try:
        with temporaries.created(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if overwrite:
                os.replace(temporary, final)
            elif not _link(temporary, final):
                return False
        sync_folder(final.parent)
        return True
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _link(temporary: Path, final: Path) -> bool:
    try:
        os.link(temporary, final)
    except FileExistsError:
        # NFS may repeat a request whose answer was lost, and then find its own link.
        with contextlib.suppress(FileNotFoundError):
            return os.path.samefile(temporary, final)
        return False
    return True


def _version(path: Path) -> str | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}"


def _file_names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_file())
    except FileNotFoundError:
        return


def _folder_names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return
