"""Where videos lie: identify and read an object by its address, whatever the store."""

from typing import Protocol

from pipeline.errors import UsageError
from pipeline.storage.addresses import BUCKET_FAMILIES, canonical_uri, scheme_of
from pipeline.storage.buckets.credentials import require_driver
from pipeline.storage.local import LocalReader, stat_file
from pipeline.storage.reader import Identity, Reader
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy, persistently


def is_local(locator: str) -> bool:
    """Whether the address is on this machine's file system."""
    return scheme_of(locator) == "file"


def stat(locator: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> Identity:
    """Who an object is, without reading it; an empty one has ``size_bytes`` 0.

    Args:
        locator: the address to ask, credentials and signature included.
        retry: for what may pass.

    Raises:
        Unreadable: the store's final answer: absent, forbidden, not a file.
        StorageError: the store failed, after retries.
        UsageError: no such scheme here.
    """
    return _store(locator).identify(locator, retry=retry)


def open_reader(locator: str, *, expected: Identity | None = None, retry: RetryPolicy = DEFAULT_RETRY) -> Reader:
    """Open an object for reading at any offset.

    Args:
        locator: the address to ask, credentials and signature included.
        expected: who it was when it was listed; ``None``: whoever it is now.
        retry: for what may pass.

    Raises:
        Unreadable: the store's final answer: absent, forbidden, not a file, empty.
        Changed: it is not ``expected``.
        StorageError: the store failed, after retries.
        UsageError: no such scheme here.
    """
    return _store(locator).open(locator, expected=expected, retry=retry)


def is_in_bucket(locator: str) -> bool:
    """Whether the address lies in an object store."""
    return scheme_of(locator) in BUCKET_FAMILIES


def require_scheme(locator: str) -> None:
    """Make sure that the address' store can be read at all.

    Raises:
        UsageError: the scheme is unknown, or its driver is not installed.
    """
    _store(locator)


class _Store(Protocol):
    """What one family of schemes does."""

    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity: ...

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader: ...


class _LocalStore:
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        path = canonical_uri(locator)
        return persistently(lambda: stat_file(path), uri=path, retry=retry)

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        return LocalReader(canonical_uri(locator), expected=expected, retry=retry)


class _HttpStore:
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        from pipeline.storage.http_reader import identify

        return identify(locator, retry=retry)

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        from pipeline.storage.http_reader import HttpReader

        return HttpReader(locator, expected=expected, retry=retry)


class _BucketStore:
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        from pipeline.storage.buckets.bucket import Bucket

        bucket, key = Bucket.of(locator)
        return bucket.head(key, retry=retry)

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        from pipeline.storage.buckets.reader import BucketReader

        return BucketReader(locator, expected=expected, retry=retry)


def _store(locator: str) -> _Store:
    scheme = scheme_of(locator)
    if scheme == "file":
        return _LocalStore()
    if scheme in BUCKET_FAMILIES:
        require_driver(scheme)
        return _BucketStore()
    if scheme not in ("http", "https"):
        raise UsageError(
            f"{scheme}:// cannot be read: give a local path, or an address of file, http(s), s3, gs, az or abfs(s)"
        )
    try:
        import aiohttp  # noqa: F401 (the driver, which only remote archives need)
    except ImportError:
        raise UsageError(f"{scheme}:// needs a driver that is not installed: pip install 'fsspec[http]'") from None
    return _HttpStore()
