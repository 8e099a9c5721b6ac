"""Where videos lie: identify and read an object by its address, whatever the store."""

import errno
import os
import stat as file_mode
from functools import partial
from typing import Protocol

from pipeline.accounts import require_driver
from pipeline.errors import Changed, Unreadable, UsageError
from pipeline.objects import (
    DEFAULT_RETRY,
    Identity,
    Reader,
    RetryPolicy,
    Transient,
    persistently,
    verdict,
    video_id,
)
from pipeline.uris import BUCKET_FAMILIES, canonical_uri, scheme_of

__all__ = [
    "DEFAULT_RETRY",
    "Identity",
    "Reader",
    "RetryPolicy",
    "canonical_uri",
    "is_in_bucket",
    "is_local",
    "open_reader",
    "require_scheme",
    "stat",
    "video_id",
]


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
        return persistently(lambda: _stat_file(path), uri=path, retry=retry)

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        return LocalReader(canonical_uri(locator), expected=expected, retry=retry)


class _HttpStore:
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        from pipeline.http_reader import identify

        return identify(locator, retry=retry)

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        from pipeline.http_reader import HttpReader

        return HttpReader(locator, expected=expected, retry=retry)


class _BucketStore:
    def identify(self, locator: str, *, retry: RetryPolicy) -> Identity:
        from pipeline.buckets import Bucket

        bucket, key = Bucket.of(locator)
        return bucket.head(key, retry=retry)

    def open(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> Reader:
        from pipeline.bucket_reader import BucketReader

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


class LocalReader(Reader):
    """A file of this machine's file system, network mounts included."""

    def __init__(self, path: str, *, expected: Identity | None, retry: RetryPolicy) -> None:
        self.uri = path
        self._retry = retry
        self._fd = persistently(lambda: _open_file(path), uri=path, retry=retry)
        try:
            found = _file_identity(os.fstat(self._fd))
            self._expected = found if expected is None else expected
            self._compare(found)
            self.size_bytes = found.size_bytes or 0
            if self.size_bytes == 0:
                raise Unreadable(path, "empty")
        except BaseException:
            self.close()
            raise

    def read_at(self, offset: int, length: int) -> bytes:
        """See ``Reader``."""
        end = min(offset + length, self.size_bytes)
        if not 0 <= offset < end:
            return b""
        parts: list[bytes] = []
        while offset < end:
            part = persistently(partial(self._pread, end - offset, offset), uri=self.uri, retry=self._retry)
            if not part:
                raise Changed(self.uri, "shorter than when it was listed")
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """See ``Reader``."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _identities(self) -> list[Identity]:
        by_name = persistently(lambda: _stat_file(self.uri), uri=self.uri, retry=self._retry)
        return [by_name, _file_identity(os.fstat(self._fd))]

    def _pread(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, length, offset)
        except OSError as error:
            if error.errno == errno.ESTALE:
                # NFS: the handle is dead for good, the name may not be.
                fresh = _open_file(self.uri)
                os.dup2(fresh, self._fd, inheritable=False)
                os.close(fresh)
                self._compare(_file_identity(os.fstat(self._fd)))
            raise Transient(error.strerror or type(error).__name__) from None


def _open_file(path: str) -> int:
    """A descriptor of a regular file; without O_NONBLOCK, a named pipe would be waited for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise verdict(error, uri=path) from None
    except ValueError:
        raise Unreadable(path, "not a valid path") from None
    try:
        _require_regular(os.fstat(fd), path)
    except Unreadable:
        os.close(fd)
        raise
    return fd


def _stat_file(path: str) -> Identity:
    try:
        found = os.stat(path)
    except OSError as error:
        raise verdict(error, uri=path) from None
    except ValueError:
        raise Unreadable(path, "not a valid path") from None
    _require_regular(found, path)
    return _file_identity(found)


def _require_regular(found: os.stat_result, path: str) -> None:
    if file_mode.S_ISDIR(found.st_mode):
        raise Unreadable(path, "is a folder")
    if not file_mode.S_ISREG(found.st_mode):
        raise Unreadable(path, "not a regular file")


def _file_identity(found: os.stat_result) -> Identity:
    return Identity(size_bytes=found.st_size, mtime_ns=found.st_mtime_ns)
