"""Which store a dataset's address means, and the lease and fence that go with it."""

from pipeline.errors import UsageError
from pipeline.lake.publishing import bucket_lease, folder_lease
from pipeline.lake.publishing.bucket_lease import BucketFence, BucketLease
from pipeline.lake.publishing.bucket_store import BucketStore
from pipeline.lake.publishing.folder_lease import FileFence, FileLease
from pipeline.lake.publishing.folder_store import LocalStore
from pipeline.lake.publishing.lease import Fence, Lease
from pipeline.lake.publishing.store import Store
from pipeline.records.shards import Shard
from pipeline.storage.addresses import BUCKET_FAMILIES, scheme_of


def store_at(uri: str) -> Store:
    """The store of the dataset at ``uri``, which need not exist yet.

    Raises:
        UsageError: datasets cannot be kept there, or the library for it is not installed.
    """
    scheme = scheme_of(uri)
    if scheme == "file":
        return LocalStore(uri)
    if scheme in BUCKET_FAMILIES:
        return BucketStore(uri)
    raise UsageError(f"a dataset cannot be kept at {scheme}://: give a local folder, az://, s3:// or gs:// as --out")


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
        folder_lease.check(_local(store), shard=shard)


def fence(store: Store, *, token: str) -> Fence:
    """The fence of the run with this token."""
    return BucketFence(store, token) if isinstance(store, BucketStore) else FileFence(_local(store), token)


def _local(store: Store) -> LocalStore:
    assert isinstance(store, LocalStore)
    return store
