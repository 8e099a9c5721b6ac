"""Where videos lie: identify and read an object by its address, whatever the store."""

from collections.abc import Mapping
from typing import Protocol

from typing_extensions import override

from pipeline.errors import UsageError
from pipeline.storage.addresses import Place, is_local, local_locator, place_of, scheme_of, shown
from pipeline.storage.buckets.credentials import require_driver
from pipeline.storage.local import LocalReader, find_path, stat_file
from pipeline.storage.reader import Identity, Reader
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy, persistently


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
    return _objects_of(locator).identify(locator, retry=retry)


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
    return _objects_of(locator).open(locator, expected=expected, retry=retry)


def locator_of(uri: str) -> str:
    """What opens the object of a canonical URI, as far as that needs no signature; it may be given as INPUT itself."""
    return local_locator(find_path(uri)) if is_local(uri) else uri


def require_scheme(locator: str) -> None:
    """Make sure that the address' store can be read at all.

    Raises:
        UsageError: it is empty, the scheme is unknown, or its driver is not installed.
    """
    if not locator:  # which would be the current folder, and is a variable of a script that is not set
        raise UsageError("an INPUT is empty: give a file, a folder, a pattern, a manifest or an address")
    _objects_of(locator)


class _Objects(Protocol):
    """The objects of one kind of place."""

    def require_driver(self, locator: str) -> None:
        """Make sure that the library for it is installed."""

    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        """As ``stat``."""

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        """As ``open_reader``."""


class _FileObjects(_Objects):
    @override
    def require_driver(self, locator: str) -> None:
        pass

    @override
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        path = find_path(locator)
        return persistently(lambda: stat_file(path), uri=shown(path), retry=retry)

    @override
    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        return LocalReader(locator, expected=expected, retry=retry)


class _WebObjects(_Objects):
    @override
    def require_driver(self, locator: str) -> None:
        pass

    @override
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        from pipeline.storage.http_object import HttpObject

        return HttpObject(locator, retry=retry).identify()

    @override
    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        from pipeline.storage.http_reader import HttpReader

        return HttpReader(locator, expected=expected, retry=retry)


class _BucketObjects(_Objects):
    @override
    def require_driver(self, locator: str) -> None:
        require_driver(scheme_of(locator))

    @override
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        from pipeline.storage.buckets.bucket import Bucket

        bucket, key = Bucket.of(locator)
        return bucket.head(key, retry=retry)

    @override
    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        from pipeline.storage.buckets.reader import BucketReader

        return BucketReader(locator, expected=expected, retry=retry)


_OBJECTS: Mapping[Place, _Objects] = {
    Place.FILES: _FileObjects(),
    Place.WEB: _WebObjects(),
    Place.BUCKET: _BucketObjects(),
}


def _objects_of(locator: str) -> _Objects:
    place = place_of(locator)
    if place is None:
        raise UsageError(
            f"{scheme_of(locator)}:// cannot be read: give a local path, or an address of file, http(s), s3, gs, az or "
            "abfs(s)"
        )
    objects = _OBJECTS[place]
    objects.require_driver(locator)
    return objects
