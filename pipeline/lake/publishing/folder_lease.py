"""Leases of a dataset in a folder: a file for each shard, and a lock beside it.

The fence is exact: a worker publishes under a shared lock on its shard's lock file and only while the lease is its
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
from pipeline.lake.publishing.holders import LEASES, RUNS_OUT_AFTER_S, Holder, in_use, is_fresh, lost, slot_of
from pipeline.lake.publishing.lease import Backend, Fence, Lease
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.shards import Shard
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy

_HANDOVER = "handover"


class FolderLease(Lease):
    """A held lease, renewed in the background until released."""

    def __init__(self, store: FolderStore, holder: Holder) -> None:
        self._store = store
        self._holder = holder
        self._heartbeat = Heartbeat(self._renew)

    @classmethod
    def acquire(cls, store: FolderStore, *, shard: Shard) -> "FolderLease":
        """As ``Backend.acquire``."""
        holder = Holder.me(shard)
        try:
            (store.root / LEASES).mkdir(exist_ok=True)
        except OSError as error:
            raise refused(error, path=store.root / LEASES) from None
        with _locked(store, _HANDOVER, fcntl.LOCK_EX):
            for slot in _rivals(store, shard):
                _refuse_living(store, slot, shard=shard, now_s=_now_s(store))
            for slot in _rivals(store, shard):
                if slot != shard.slot:
                    with _free(store, slot, shard=shard):
                        store.remove(_file(slot))
            with _free(store, shard.slot, shard=shard):
                store.publish(_file(shard.slot), json.dumps(holder.to_json()).encode(), overwrite=True)
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
        slot = slot_of(self.token)
        # A lease that stays behind does no harm: its process is about to be dead.
        with contextlib.suppress(StorageError, UsageError), _locked(self._store, slot, fcntl.LOCK_EX):
            current = _read(self._store, slot)
            if current is not None and current.is_of(self.token):
                self._store.remove(_file(slot))

    def _renew(self) -> None:
        with fenced(self._store, self.token):
            os.utime(self._store.root / _file(slot_of(self.token)))


class FolderBackend(Backend):
    """A dataset in a folder."""

    def __init__(self, uri: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self._store = FolderStore(uri, retry=retry)

    @property
    @override
    def store(self) -> FolderStore:
        return self._store

    @override
    def acquire(self, *, shard: Shard) -> FolderLease:
        return FolderLease.acquire(self._store, shard=shard)

    @override
    def check(self, *, shard: Shard) -> None:
        check(self._store, shard=shard)

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
    slot = slot_of(token)
    with _locked(store, slot, fcntl.LOCK_SH):
        current = _read(store, slot)
        if current is None or not current.is_of(token):
            raise lost(store.uri)
        yield


def check(store: FolderStore, *, shard: Shard) -> None:
    """As ``Backend.check``."""
    # By this machine's clock, for nothing may be touched; a lease that it cannot judge is left to who takes it.
    now_s = time.time()
    for slot in _rivals(store, shard):
        _refuse_living(store, slot, shard=shard, now_s=now_s, is_sure=False)


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


def _rivals(store: FolderStore, shard: Shard) -> list[str]:
    """The slots with a lease that cannot be held beside the shard's own, which is one of them."""
    try:
        names = store.list(LEASES)
    except StorageError:
        if not store.root.is_dir():  # a file where the dataset's folder should be: no lease, and no dataset
            return []
        raise
    slots = [name.rpartition("/")[2].removesuffix(".json") for name in names if name.endswith(".json")]
    return [slot for slot in slots if slot == shard.slot or not slot.endswith(f"-of-{shard.count}")]


@contextlib.contextmanager
def _free(store: FolderStore, slot: str, *, shard: Shard) -> Iterator[None]:
    """While the body runs, the slot is nobody's, and nothing that its last holder published is in flight."""
    with _locked(store, slot, fcntl.LOCK_EX):
        _refuse_living(store, slot, shard=shard, now_s=_now_s(store))
        yield


def _refuse_living(store: FolderStore, slot: str, *, shard: Shard, now_s: float, is_sure: bool = True) -> None:
    """Raise ``UsageError`` while the holder of the slot lives; ``is_sure``: ``now_s`` is by the file system's clock."""
    current = _read(store, slot)
    if current is None:
        return
    is_running = None if current.holder is None else current.holder.is_running()
    if is_running is None:
        is_running = is_fresh(current.renewed_s, now_s=now_s, is_sure=is_sure)
    if is_running:
        raise in_use(store.uri, where=current.where, slot=slot, shard=shard)


def _now_s(store: FolderStore) -> float:
    """The file system's clock, told by the lock file of the handover, whose lock is held."""
    path = store.root / LEASES / f"{_HANDOVER}.lock"
    try:
        os.utime(path)
        return path.stat().st_mtime
    except OSError as error:
        raise refused(error, path=path) from None


def _read(store: FolderStore, slot: str) -> _LeaseFile | None:
    name = _file(slot)
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


def _file(slot: str) -> str:
    return f"{LEASES}/{slot}.json"


def _locked(store: FolderStore, name: str, operation: int) -> contextlib.AbstractContextManager[None]:
    path = store.root / LEASES / f"{name}.lock"
    return locked(path, operation, root=store.uri, who="a worker of an earlier run")
