"""Leases of a dataset in a folder: a file for each slot, and a lock beside it.

The fence is exact: a worker publishes under a shared lock on its slot's lock file and only while the lease is its
run's own; whoever takes the lease over holds the exclusive lock. So nothing of the old run can be in flight when the
new one reads what is done, and nothing of it arrives later. Leases change hands one at a time, under one more lock, so
that two runs that cut the input differently cannot both begin.

Whether a lease may be taken over is the other question. Its holder's process is looked for where that can be seen
(the same boot of the same machine, the same process namespace); elsewhere the lease counts as held until it has not
been renewed for a minute. The clock for that is the file system's own, a server's for a network mount: whoever takes a
lease touches the lock file of the handover, which is then its own, and compares the two files' times. Renewing touches
the lease and writes nothing, so it goes on while the disk is full.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from typing_extensions import override

from pipeline.errors import StorageError, UsageError
from pipeline.lake.publishing.folder_locks import locked, refused
from pipeline.lake.publishing.folder_store import FolderStore
from pipeline.lake.publishing.heartbeat import Heartbeat
from pipeline.lake.publishing.holders import LEASES, RUNS_OUT_AFTER_S, Holder, in_use, is_fresh, key_of, lost
from pipeline.lake.publishing.lease import Backend, Fence, Lease
from pipeline.lake.publishing.slots import Slot
from pipeline.lake.publishing.store import MissingFile
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy

_HANDOVER = "handover"


class FolderLease(Lease):
    """A held lease, renewed in the background until released."""

    def __init__(self, store: FolderStore, holder: Holder) -> None:
        self._store = store
        self._holder = holder
        self._heartbeat = Heartbeat(self._renew)

    @classmethod
    def acquire(cls, store: FolderStore, *, slot: Slot) -> "FolderLease":
        """As ``Backend.acquire``."""
        holder = Holder.me(slot)
        try:
            (store.root / LEASES).mkdir(exist_ok=True)
        except OSError as error:
            raise refused(error, path=store.root / LEASES) from None
        with _locked(store, _HANDOVER, fcntl.LOCK_EX):
            for key in _rivals(store, slot):
                _refuse_living(store, key, slot=slot, now_s=_now_s(store))
            for key in _rivals(store, slot):
                if key != slot.key:
                    with _free(store, key, slot=slot):
                        store.remove(_file(key))
            with _free(store, slot.key, slot=slot):
                store.publish(_file(slot.key), json.dumps(holder.to_json()).encode(), overwrite=True)
        return cls(store, holder)

    @property
    @override
    def token(self) -> str:
        return self._holder.token

    @override
    def guard(self) -> contextlib.AbstractContextManager[None]:
        return self._heartbeat.guard(self._store.uri)

    @override
    def release(self) -> None:
        self._heartbeat.stop()
        key = key_of(self.token)
        # A lease that stays behind does no harm: its process is about to be dead.
        with contextlib.suppress(StorageError, UsageError), _locked(self._store, key, fcntl.LOCK_EX):
            current = _read(self._store, key)
            if current is not None and current.is_of(self.token):
                self._store.remove(_file(key))

    def _renew(self) -> None:
        with fenced(self._store, self.token):
            os.utime(self._store.root / _file(key_of(self.token)))


class FolderBackend(Backend):
    """A dataset in a folder."""

    def __init__(self, uri: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self._store = FolderStore(uri, retry=retry)

    @property
    @override
    def store(self) -> FolderStore:
        return self._store

    @override
    def acquire(self, *, slot: Slot) -> FolderLease:
        return FolderLease.acquire(self._store, slot=slot)

    @override
    def check(self, *, slot: Slot) -> None:
        check(self._store, slot=slot)

    @override
    def fence(self, *, token: str) -> "FolderFence":
        return FolderFence(self._store, token)


class FolderFence(Fence):
    """Publishes under a lease's lock."""

    def __init__(self, store: FolderStore, token: str) -> None:
        self._store = store
        self._token = token

    @override
    def publish(self, name: str, data: bytes, *, stand_in: bytes) -> bool:
        with fenced(self._store, self._token):
            return self._store.publish(name, data)

    @override
    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        with fenced(self._store, self._token):
            return self._store.replace(name, data, version=version)

    @override
    def remove(self, name: str) -> None:
        with fenced(self._store, self._token):
            self._store.remove(name)


@contextlib.contextmanager
def fenced(store: FolderStore, token: str) -> Iterator[None]:
    """While the body runs, the lease cannot change hands.

    Raises:
        LeaseLost: it already has.
        StorageError: the store failed.
    """
    key = key_of(token)
    with _locked(store, key, fcntl.LOCK_SH):
        current = _read(store, key)
        if current is None or not current.is_of(token):
            raise lost(store.uri)
        yield


def check(store: FolderStore, *, slot: Slot) -> None:
    """As ``Backend.check``."""
    # By this machine's clock, for nothing may be touched; a lease that it cannot judge is left to who takes it.
    now_s = time.time()
    for key in _rivals(store, slot):
        _refuse_living(store, key, slot=slot, now_s=now_s, is_sure=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LeaseFile:
    """A lease file: its holder, or ``None`` where it is damaged, and when it was renewed by the file system's clock."""

    holder: Holder | None
    renewed_s: float

    @property
    def where(self) -> str:
        if self.holder is None:
            return f"its lease is damaged, and runs out {RUNS_OUT_AFTER_S:.0f} s after it was last written"
        return self.holder.where

    def is_of(self, token: str) -> bool:
        return self.holder is not None and self.holder.token == token


def _rivals(store: FolderStore, slot: Slot) -> list[str]:
    """The leases that are there and exclude the slot's own, which may be one of them."""
    try:
        names = store.list(LEASES)
    except StorageError:
        if not store.root.is_dir():  # a file where the dataset's folder should be: no lease, and no dataset
            return []
        raise
    keys = [name.rpartition("/")[2].removesuffix(".json") for name in names if name.endswith(".json")]
    return [key for key in keys if slot.excludes(key)]


@contextlib.contextmanager
def _free(store: FolderStore, key: str, *, slot: Slot) -> Iterator[None]:
    """While the body runs, the slot is nobody's, and nothing that its last holder published is in flight."""
    with _locked(store, key, fcntl.LOCK_EX):
        _refuse_living(store, key, slot=slot, now_s=_now_s(store))
        yield


def _refuse_living(store: FolderStore, key: str, *, slot: Slot, now_s: float, is_sure: bool = True) -> None:
    """Raise ``UsageError`` while the holder of the slot lives; ``is_sure``: ``now_s`` is by the file system's clock."""
    current = _read(store, key)
    if current is None:
        return
    is_running = None if current.holder is None else current.holder.is_running()
    if is_running is None:
        is_running = is_fresh(current.renewed_s, now_s=now_s, is_sure=is_sure)
    if is_running:
        raise in_use(store.uri, where=current.where, key=key, slot=slot)


def _now_s(store: FolderStore) -> float:
    """The file system's clock, told by the lock file of the handover, whose lock is held."""
    path = store.root / LEASES / f"{_HANDOVER}.lock"
    try:
        os.utime(path)
        return path.stat().st_mtime
    except OSError as error:
        raise refused(error, path=path) from None


def _read(store: FolderStore, key: str) -> _LeaseFile | None:
    name = _file(key)
    try:
        data = store.read(name)
        renewed_s = (store.root / name).stat().st_mtime
    except (MissingFile, FileNotFoundError):
        return None
    except OSError as error:
        raise StorageError(f"{store.root / name}: {error.strerror}") from None
    try:
        holder = Holder.from_json(json.loads(data))
    except ValueError:
        holder = None
    return _LeaseFile(holder=holder, renewed_s=renewed_s)


def _file(key: str) -> str:
    return f"{LEASES}/{key}.json"


def _locked(store: FolderStore, name: str, operation: int) -> contextlib.AbstractContextManager[None]:
    path = store.root / LEASES / f"{name}.lock"
    return locked(path, operation, root=store.uri, who="a worker of an earlier run")
