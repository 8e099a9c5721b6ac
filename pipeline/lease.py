"""One run a shard at a time: its lease, and the fence that keeps a dead run's workers from publishing.

Runs of different shards of one number go on side by side; every other second run is refused while the first lives.
"""

from typing import Protocol

from pipeline import bucket_lease, file_lease
from pipeline.bucket_lease import BucketFence, BucketLease
from pipeline.bucket_store import BucketStore
from pipeline.config import Shard
from pipeline.file_lease import FileFence, FileLease
from pipeline.holders import LeaseLost
from pipeline.publish import LocalStore, Store

__all__ = ["Fence", "Lease", "LeaseLost", "acquire", "check", "fence"]


class Lease(Protocol):
    """A held lease, renewed in the background until released."""

    @property
    def token(self) -> str:
        """What the run's workers publish with."""

    def release(self) -> None:
        """Give the lease back; one that was taken over meanwhile, or a store that fails, is left alone."""


class Fence(Protocol):
    """The way into a dataset for the workers of one run.

    All methods raise ``LeaseLost`` where another run has taken over, and ``StorageError`` where the store failed.
    """

    def publish(self, name: str, data: bytes, *, stand_in: bytes) -> bool:
        """As ``Store.publish`` of a name that is not taken yet; a bucket's name gets a mark of the run.

        ``stand_in`` is a file without rows, for the name of a file that must not be published any more.
        """

    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        """As ``Store.replace``."""

    def remove(self, name: str) -> None:
        """As ``Store.remove``."""


def acquire(store: Store, *, shard: Shard) -> Lease:
    """Take the lease of a shard of the dataset, which exists and can be written to, from a dead run if need be.

    Raises:
        UsageError: a living run holds it, or one of a shard of another number; or the file system has no locks.
        StorageError: a worker of an earlier run does not finish publishing, or the store failed.
    """
    if isinstance(store, BucketStore):
        return BucketLease.acquire(store, shard=shard)
    return FileLease.acquire(_local(store), shard=shard)


def check(store: Store, *, shard: Shard) -> None:
    """Refuse early, before anything is started for nothing. Writes nothing.

    Raises:
        UsageError: as ``acquire``, as far as that can be told.
    """
    if isinstance(store, BucketStore):
        bucket_lease.check(store, shard=shard)
    else:
        file_lease.check(_local(store), shard=shard)


def fence(store: Store, *, token: str) -> Fence:
    """The fence of the run with this token."""
    return BucketFence(store, token) if isinstance(store, BucketStore) else FileFence(_local(store), token)


def _local(store: Store) -> LocalStore:
    assert isinstance(store, LocalStore)
    return store
