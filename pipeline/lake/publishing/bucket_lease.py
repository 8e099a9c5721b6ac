"""Leases of a dataset on an object store, where nothing can be locked: one register, changed by compare-and-swap.

The register names the holder of each slot. Whoever changes it replaces the version that it has read, so of two
contenders one wins, and slots that exclude each other never stand in it together. A run touches an object of its own
every few seconds; one that has not been touched for a minute, by the store's own clock, belongs to a dead run, and so
does one whose process is known to have died. Being mistaken about that harms nobody, for the fence does not depend on
it:

A worker first announces which name it is about to publish, then looks its token up in the register, then publishes
under that name what nobody has published there before. Whoever takes a lease over first changes the register, and then
puts a stand-in, a file without rows, under every name that was announced by a run which is not in the register (any
more). Either the old worker's file was there first, and is counted, or its name is taken, however long the worker or
its request was held up. Nobody waits for anybody, and no clock is asked. Names bear their run's mark, so that the next
run finds the names of the same work free.
"""

import base64
import contextlib
import json
import random
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from typing_extensions import override

from pipeline.errors import RunError, StorageError, UsageError
from pipeline.lake.publishing.bucket_store import BucketStore
from pipeline.lake.publishing.heartbeat import Heartbeat
from pipeline.lake.publishing.holders import (
    LEASES,
    RUNS_OUT_AFTER_S,
    Holder,
    LeaseLost,
    in_use,
    is_fresh,
    key_of,
    lost,
)
from pipeline.lake.publishing.lease import Backend, Fence, Lease
from pipeline.lake.publishing.slots import Slot
from pipeline.lake.publishing.store import MissingFile
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy

REGISTER = f"{LEASES}/register.json"
INTENTS = f"{LEASES}/intents"
_AGAIN_AFTER_S = 0.2
_HASTE = RetryPolicy(patience_s=5.0)


class BucketLease(Lease):
    """A held lease, renewed in the background until released."""

    def __init__(self, store: BucketStore, holder: Holder) -> None:
        self._store = store
        self._holder = holder
        self._heartbeat = Heartbeat(self._renew)

    @classmethod
    def acquire(cls, store: BucketStore, *, slot: Slot) -> "BucketLease":
        """As ``Backend.acquire``."""
        holder = Holder.me(slot)
        store.publish(_beat(holder.token), b"", overwrite=True)
        try:
            now_s = _written_s(store, _beat(holder.token))
            before = _amend(store, lambda register: register.entered(store, holder, slot=slot, now_s=now_s))
        except UsageError:
            store.remove(_beat(holder.token))
            raise
        lease = cls(store, holder)
        try:
            with lease.guard():
                for key in _rivals(before.left(holder.token), slot):
                    store.remove(_beat(before.holders[key].token))
                _block_strangers(store)
        except RunError:
            lease.release()
            raise
        return lease

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
        # A lease that stays behind does no harm: its process is about to be dead. So not much patience is due.
        with contextlib.suppress(StorageError, UsageError):
            store = BucketStore(self._store.uri, retry=_HASTE)
            _amend(store, lambda register: register.left(self.token))
            store.remove(_beat(self.token))

    def _renew(self) -> None:
        if not _read(self._store).holds(self.token):
            raise lost(self._store.uri)
        self._store.publish(_beat(self.token), b"", overwrite=True)


class BucketBackend(Backend):
    """A dataset in an object store."""

    def __init__(self, uri: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self._store = BucketStore(uri, retry=retry)

    @property
    @override
    def store(self) -> BucketStore:
        return self._store

    @override
    def acquire(self, *, slot: Slot) -> BucketLease:
        return BucketLease.acquire(self._store, slot=slot)

    @override
    def check(self, *, slot: Slot) -> None:
        check(self._store, slot=slot)

    @override
    def fence(self, *, token: str) -> "BucketFence":
        return BucketFence(self._store, token)


class BucketFence(Fence):
    """Publishes what has been announced, while the register holds the token."""

    def __init__(self, store: BucketStore, token: str) -> None:
        self._store = store
        self._token = token

    @override
    def publish(self, name: str, data: bytes, *, stand_in: bytes) -> bool:
        name = _marked(name, token=self._token)
        intent = f"{INTENTS}/{self._token}.{uuid.uuid4().hex}.json"
        document = {"name": name, "stand_in": base64.b64encode(stand_in).decode()}
        self._store.publish(intent, json.dumps(document).encode(), overwrite=True)
        try:
            self._check()
            is_published = self._store.publish(name, data)
            if not is_published:
                self._check()  # what took the name may be a stand-in
        except LeaseLost:
            self._store.remove(intent)
            raise
        self._store.remove(intent)
        return is_published

    @override
    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        self._check()
        return self._store.replace(name, data, version=version)

    @override
    def remove(self, name: str) -> None:
        self._check()
        self._store.remove(name)

    def _check(self) -> None:
        if not _read(self._store).holds(self._token):
            raise lost(self._store.uri)


def check(store: BucketStore, *, slot: Slot) -> None:
    """As ``Backend.check``."""
    # By this machine's clock, which is good enough for what is looked at once more when the lease is taken.
    _read(store).refuse_living(store, slot=slot, now_s=time.time(), is_sure=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Register:
    """Who holds which slot, and which version of the object says so; one that is damaged names nobody."""

    version: str | None
    holders: dict[str, Holder]
    is_damaged: bool = False

    def holds(self, token: str) -> bool:
        holder = self.holders.get(key_of(token))
        return holder is not None and holder.token == token

    def entered(self, store: BucketStore, holder: Holder, *, slot: Slot, now_s: float) -> dict[str, Holder]:
        if self.holds(holder.token):  # the answer to our write was lost, and another run has changed the register since
            return self.holders
        self.refuse_living(store, slot=slot, now_s=now_s, is_sure=True)
        rivals = _rivals(self.holders, slot)
        others = {key: other for key, other in self.holders.items() if key not in rivals}
        return {**others, slot.key: holder}

    def left(self, token: str) -> dict[str, Holder]:
        return {key: holder for key, holder in self.holders.items() if holder.token != token}

    def refuse_living(self, store: BucketStore, *, slot: Slot, now_s: float, is_sure: bool) -> None:
        """Raise ``UsageError`` while a run lives that cannot go on beside one of the ``shard``."""
        if self.is_damaged and is_fresh(store.modified_s(REGISTER), now_s=now_s, is_sure=is_sure):
            where = f"its lease is damaged, and runs out {RUNS_OUT_AFTER_S:.0f} s after it was last written"
            raise in_use(store.uri, where=where, key=slot.key, slot=slot)
        for key in _rivals(self.holders, slot):
            holder = self.holders[key]
            is_running = holder.is_running()
            if is_running is None:
                is_running = is_fresh(store.modified_s(_beat(holder.token)), now_s=now_s, is_sure=is_sure)
            if is_running:
                raise in_use(store.uri, where=holder.where, key=key, slot=slot)


def _written_s(store: BucketStore, name: str) -> float:
    """When a file that was just written was written, which is now by the store's clock."""
    written_s = store.modified_s(name)
    if written_s is None:
        raise StorageError(f"{store.uri}/{name}: was written and is not there; run the same command again")
    return written_s


def _rivals(keys: Iterable[str], slot: Slot) -> list[str]:
    """The leases that exclude the slot's own, which may be one of them."""
    return [key for key in keys if slot.excludes(key)]


def _read(store: BucketStore) -> _Register:
    content = store.fetch(REGISTER)
    if content is None:
        return _Register(version=None, holders={})
    data, version = content
    try:
        document = json.loads(data)
        holders = {str(key): Holder.from_json(holder) for key, holder in document["holders"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return _Register(version=version, holders={}, is_damaged=True)
    return _Register(version=version, holders=holders)


def _amend(store: BucketStore, change: Callable[[_Register], dict[str, Holder]]) -> _Register:
    """Change the register, by what it says at that very moment; returns what it said."""
    while True:
        register = _read(store)
        holders = change(register)
        if holders == register.holders and not register.is_damaged:
            return register
        document = {"holders": {key: holder.to_json() for key, holder in holders.items()}}
        if store.replace(REGISTER, json.dumps(document).encode(), version=register.version):
            return register
        time.sleep(random.uniform(0, _AGAIN_AFTER_S))


def _block_strangers(store: BucketStore) -> None:
    """Take every name that a run which holds no lease (any more) has announced and not published."""
    announced = store.list(INTENTS)
    # Read after they were listed: the token of an announcement was in the register before it.
    register = _read(store)
    for intent in announced:
        if register.holds(_token_of(intent)):
            continue
        with contextlib.suppress(MissingFile):  # published, or blocked by another run, meanwhile
            document = json.loads(store.read(intent))
            store.publish(document["name"], base64.b64decode(document["stand_in"]))
            store.remove(intent)


def _marked(name: str, *, token: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}-{token[-8:]}{path.suffix}"))


def _token_of(intent: str) -> str:
    return intent.rpartition("/")[2].rpartition(".")[0].rpartition(".")[0]


def _beat(token: str) -> str:
    return f"{LEASES}/{token}.beat"
