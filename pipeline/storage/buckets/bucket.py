"""Objects of S3, Azure Blob and Google Cloud Storage: ask, read, list, put and delete, in one vocabulary for all three.

The driver is ``obstore``; ``errors`` says what one of its errors counts as.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from pipeline.errors import Unreadable
from pipeline.storage.buckets.address import Address
from pipeline.storage.buckets.credentials import connect, environment
from pipeline.storage.buckets.errors import CredentialsRefused, is_no_bucket, is_without_words, verdict
from pipeline.storage.reader import Identity
from pipeline.storage.retry import DEFAULT_RETRY, OddAnswer, RetryPolicy, Transient, persistently

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode, UpdateVersion

Result = TypeVar("Result")

# Of one request. What fails longer than the driver's own few tries is asked again by ``persistently``.
_READ_RETRIES = 2
_READ_SILENCE_S = 20.0
_READ_S = 300.0
_WRITE_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing describes it."""

    key: str
    identity: Identity


class Bucket:
    """One bucket or container, for as long as the environment stays the same. Safe to use from many threads.

    Every operation tries again for as long as ``retry`` says, and raises:
        Gone: the object does not exist (an ``Unreadable``).
        Unreadable: the store's final answer about this one object.
        BucketRefused: its final answer about the bucket or the credentials (a ``StorageError``).
        StorageError: the store failed, after retries.

    Attributes:
        uri: canonical, without a slash at its end.
    """

    def __init__(self, address: Address) -> None:
        """Use ``Bucket.of``. Raises ``UsageError``: no driver, no account or no credentials."""
        self.uri = address.bucket_uri
        self._family = address.family
        self._has_answered = False
        self._reads = connect(address, max_retries=_READ_RETRIES, read_timeout_s=_READ_SILENCE_S, timeout_s=_READ_S)
        # One try each: after a write whose answer was lost, what is there now must be looked at first.
        self._writes = connect(address, max_retries=0, read_timeout_s=None, timeout_s=_WRITE_S)

    @staticmethod
    def of(uri: str) -> "tuple[Bucket, str]":
        """The bucket of an address, the same object each time, and the key in it (as written; empty: none).

        Raises:
            UsageError: no bucket's name, no driver, no account or no credentials.
        """
        address = Address.parse(uri)
        return _bucket(address.bucket_uri, environment()), address.key

    def uri_of(self, key: str) -> str:
        """The canonical URI of an object."""
        return f"{self.uri}/{key}"

    def head(self, key: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> Identity:
        """Who an object is."""
        import obstore

        def ask() -> Identity:
            try:
                return _identity(obstore.head(self._reads, key))
            except (FileNotFoundError, obstore.exceptions.BaseError) as error:
                if not is_without_words(error):
                    raise
                # A HEAD's answer has no body, and so does not say whether the bucket or the object is meant.
                return _identity(obstore.get(self._reads, key, options={"range": (0, 1)}).meta)

        return self._ask(ask, key=key, retry=retry)

    def modified_s(self, key: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> float:
        """When an object was last written, in seconds since the Unix epoch, by the store's clock."""
        import obstore

        meta = self._ask(lambda: obstore.head(self._reads, key), key=key, retry=retry)
        return meta["last_modified"].timestamp()

    def read(
        self, key: str, *, start: int, end: int, etag: str | None = None, retry: RetryPolicy = DEFAULT_RETRY
    ) -> bytes:
        """Bytes ``[start, end)``, which must lie within the object.

        Args:
            key: the object's.
            start: the first byte.
            end: one past the last.
            etag: of the object that is meant.
            retry: for what may pass.

        Raises:
            Changed: another object has taken the place of the one that ``etag`` names.
        """
        import obstore

        options: GetOptions = {"range": (start, end)}
        if etag:
            options["if_match"] = f'"{etag}"'

        def ask() -> bytes:
            data = obstore.get(self._reads, key, options=options).bytes().to_bytes()
            if len(data) != end - start:
                raise OddAnswer(f"the store answered {len(data)} bytes where {end - start} were asked for")
            return data

        return self._ask(ask, key=key, retry=retry)

    def get(self, key: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> tuple[bytes, Identity]:
        """A whole object of a size that fits into memory, and who it is."""
        import obstore

        def ask() -> tuple[bytes, Identity]:
            answer = obstore.get(self._reads, key)
            data, identity = answer.bytes().to_bytes(), _identity(answer.meta)
            if len(data) != identity.size_bytes:
                raise Transient(f"the store answered {len(data)} bytes of {identity.size_bytes}")
            return data, identity

        return self._ask(ask, key=key, retry=retry)

    def objects(self, prefix: str, *, after: str = "", retry: RetryPolicy = DEFAULT_RETRY) -> Iterator[Listed]:
        """All objects below a folder's name, in the order of their keys' bytes, a page of them in memory at a time.

        Args:
            prefix: the folder's key, with or without a slash at its end; empty: the bucket. Names that only begin so
                (``cams`` for ``cam``) are not below it.
            after: only keys behind this one.
            retry: for each page.
        """
        import obstore

        def pages() -> Iterator[list[Listed]]:
            stream = obstore.list(self._reads, prefix.rstrip("/") or None, offset=last or None, chunk_size=1000)
            return (list(map(_listed, chunk)) for chunk in stream)

        last = after
        stream = pages()

        def next_page() -> list[Listed] | None:
            nonlocal stream
            try:
                return next(stream, None)
            except (obstore.exceptions.BaseError, FileNotFoundError):
                stream = pages()  # behind the last key that came
                raise

        while (page := self._ask(next_page, key=prefix, retry=retry, is_listing=True)) is not None:
            for listed in page:
                last = listed.key
                yield listed

    def folders(self, prefix: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> list[str]:
        """The sorted keys, without a slash at their ends, of the folders right below a folder."""
        import obstore

        def ask() -> list[str]:
            return sorted(obstore.list_with_delimiter(self._reads, prefix.rstrip("/") or None)["common_prefixes"])

        return self._ask(ask, key=prefix, retry=retry, is_listing=True)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_etag: str | None = None,
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> str | None:
        """Write a whole object in one request: it is there whole, or as it was.

        Args:
            key: the object's.
            data: its new content.
            if_absent: only where there is none.
            if_etag: only where there is this one.
            retry: for what may pass.

        Returns:
            The new etag; or ``None``: the condition does not hold, and what is there is not ``data``. An object that is
            there and equals ``data`` counts as written: it may be our own of a try whose answer was lost.
        """
        import obstore

        def ask() -> str | None:
            mode: PutMode = "create" if if_absent else "overwrite" if if_etag is None else self._condition(key, if_etag)
            try:
                answer = obstore.put(self._writes, key, data, mode=mode, use_multipart=False)
                return _bare(answer["e_tag"]) or _identity(obstore.head(self._reads, key)).etag
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
                return self._etag_if_equal(key, data)
            except FileNotFoundError as error:
                if if_etag is None or is_no_bucket(error):
                    raise
                return None

        return self._ask(ask, key=key, retry=retry)

    def delete(self, key: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        """Remove an object; one that is not there is fine."""
        import obstore

        def ask() -> None:
            try:
                obstore.delete(self._writes, key)
            except FileNotFoundError as error:
                if is_no_bucket(error):
                    raise

        self._ask(ask, key=key, retry=retry)

    def _condition(self, key: str, etag: str) -> "UpdateVersion":
        """The condition that the object is still the one of this etag. Google's store compares generations instead."""
        import obstore

        if self._family != "gcs":
            return {"e_tag": f'"{etag}"'}
        meta = obstore.head(self._reads, key)
        is_meant = _bare(meta["e_tag"]) == etag
        return {"e_tag": meta["e_tag"], "version": meta["version"] if is_meant else "1"}

    def _etag_if_equal(self, key: str, data: bytes) -> str | None:
        import obstore

        try:
            answer = obstore.get(self._reads, key)
            is_equal = answer.meta["size"] == len(data) and answer.bytes() == data
            return _identity(answer.meta).etag if is_equal else None
        except FileNotFoundError:
            return None

    def _ask(self, call: Callable[[], Result], *, key: str, retry: RetryPolicy, is_listing: bool = False) -> Result:
        from obstore.exceptions import BaseError

        uri = self.uri_of(key)
        if any(part in ("", ".", "..") for part in key.removesuffix("/").split("/")) and not (is_listing and not key):
            raise Unreadable(uri, "its name is empty or has an empty, . or .. part, which the driver cannot ask for")

        def attempt() -> Result:
            try:
                result = call()
            except (BaseError, FileNotFoundError) as error:
                judged = verdict(error, uri=uri, bucket_uri=self.uri, family=self._family, is_listing=is_listing)
                if isinstance(judged, CredentialsRefused) and self._has_answered:
                    # They were good a while ago: their renewal failed, or is under way.
                    raise Transient("the credentials are no longer accepted") from None
                raise judged from None
            self._has_answered = True
            return result

        return persistently(attempt, uri=uri, retry=retry)


@lru_cache(maxsize=64)
def _bucket(bucket_uri: str, _variables: tuple[tuple[str, str], ...]) -> Bucket:
    return Bucket(Address.parse(bucket_uri))


def _listed(meta: "ObjectMeta") -> Listed:
    return Listed(key=meta["path"], identity=_identity(meta))


def _identity(meta: "ObjectMeta") -> Identity:
    etag = _bare(meta["e_tag"])
    mtime_ns = None if etag else int(meta["last_modified"].timestamp()) * 10**9
    return Identity(size_bytes=meta["size"], etag=etag, mtime_ns=mtime_ns)


def _bare(etag: str | None) -> str | None:
    """Without quotes: Azure's listing leaves them out, and everybody else puts them."""
    return etag.strip('"') if etag else None
