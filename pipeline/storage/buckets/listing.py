"""Folders and patterns in object stores, as streams of objects in the order of their keys.

A key's parts between slashes count as folders and a name; the rules are those of the local ``LocalListing``.
"""

import fnmatch
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic
from typing import Literal

from pipeline.errors import Unreadable, UsageError
from pipeline.storage.addresses import canonical_uri
from pipeline.storage.buckets.address import Address
from pipeline.storage.buckets.bucket import Bucket, Listed
from pipeline.storage.buckets.errors import BucketRefused
from pipeline.storage.reader import Gone, Identity
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy

Kind = Literal["object", "folder", "pattern"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """An object below a folder, and who it is: the listing itself says so."""

    uri: str
    identity: Identity


class BucketListing:
    """Lists objects; hidden names, the markers of empty folders and one folder, the dataset's own, are passed over.

    Listing raises ``BucketRefused`` (no such bucket, or not with these credentials) and ``StorageError`` (the store
    failed, after retries).
    """

    def __init__(self, *, exclude: str | None = None, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self._exclude = None if exclude is None else Address.parse(exclude)
        self._retry = retry

    def kind_of(self, word: str) -> Kind:
        """What a word on the command line names: an object of that very key comes first.

        Raises:
            UsageError: nothing, or nothing that may be seen with these credentials.
            StorageError: the store failed, after retries.
        """
        try:
            return self._kind_of(word)
        except BucketRefused as error:
            raise UsageError(str(error)) from None

    def files(self, folder: str) -> Iterator[ListedObject]:
        """All objects below a folder's address, with or without a slash at its end."""
        bucket, key = Bucket.of(folder)
        return self._matching(bucket, key.rstrip("/"), ["**"])

    def glob(self, pattern: str) -> Iterator[ListedObject]:
        """The objects that match an address with ``*``, ``?``, ``[...]`` and ``**``, or lie below a folder that does.

        Where a folder's name is a pattern and more follows, its neighbours alone are listed; from the last pattern or
        ``**`` on, all that lies below is listed and compared.
        """
        bucket, key = Bucket.of(pattern)
        return self._match(bucket, "", key.rstrip("/").split("/"))

    def _kind_of(self, word: str) -> Kind:
        bucket, key = Bucket.of(word)
        detail = "holds no files"
        if key and not key.endswith("/"):
            try:
                identity = bucket.head(key, retry=self._retry)
                # An empty object above others is how some tools make a folder.
                if identity.size_bytes or next(self.files(word), None) is None:
                    return "object"
            except Unreadable as error:
                detail = error.detail
        if next(self.files(word), None) is not None:
            return "folder"
        uri = canonical_uri(word)
        if not has_magic(key):
            raise UsageError(f"no such input: {uri}: {detail}")
        if next(self.glob(word), None) is None:
            raise UsageError(f"no such input: {uri} matches no file")
        return "pattern"

    def _match(self, bucket: Bucket, base: str, parts: Sequence[str]) -> Iterator[ListedObject]:
        literal = list(itertools.takewhile(lambda part: not has_magic(part), parts))
        base, parts = "/".join([*filter(None, [base]), *literal]), parts[len(literal) :]
        if not parts:
            yield from self._object_or_folder(bucket, base)
        elif len(parts) > 1 and parts[0] != "**":
            for folder in bucket.folders(base, retry=self._retry):
                if _is_wanted(folder.rpartition("/")[2], parts[0]):
                    yield from self._match(bucket, folder, parts[1:])
        else:
            yield from self._matching(bucket, base, parts)

    def _object_or_folder(self, bucket: Bucket, key: str) -> Iterator[ListedObject]:
        """The object of this key, or where it is a folder, those below."""
        try:
            yield ListedObject(uri=bucket.uri_of(key), identity=bucket.head(key, retry=self._retry))
        except Gone:
            yield from self._matching(bucket, key, ["**"])

    def _matching(self, bucket: Bucket, base: str, parts: Sequence[str]) -> Iterator[ListedObject]:
        skipped = len(base) + 1 if base else 0
        own = self._own_folder_in(bucket)
        for listed in bucket.objects(base, retry=self._retry):
            if own is not None and f"{listed.key}/".startswith(own):
                continue
            if _matches(listed.key[skipped:].split("/"), parts) and not self._is_marker(bucket, listed):
                yield ListedObject(uri=bucket.uri_of(listed.key), identity=listed.identity)

    def _own_folder_in(self, bucket: Bucket) -> str | None:
        """What the keys of the dataset's own objects begin with, if it is in this bucket; empty: all are its own."""
        if self._exclude is None or not self._exclude.is_in(Address.parse(bucket.uri)):
            return None
        return f"{self._exclude.key.rstrip('/')}/".lstrip("/")

    def _is_marker(self, bucket: Bucket, listed: Listed) -> bool:
        if listed.identity.size_bytes != 0:
            return False
        # The driver lists ``folder/``, the marker of an empty folder, without its slash; there is no such object.
        try:
            bucket.head(listed.key, retry=self._retry)
        except Gone:
            return True
        return False


def _matches(names: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a key's names, or the first few of them as a folder, match a pattern's parts."""
    if not parts or list(parts) == ["**"]:
        return bool(names or not parts) and not any(name.startswith(".") for name in names)
    if parts[0] != "**":
        return bool(names) and _is_wanted(names[0], parts[0]) and _matches(names[1:], parts[1:])
    is_deeper = len(names) > 1 and not names[0].startswith(".")
    return _matches(names, parts[1:]) or (is_deeper and _matches(names[1:], parts))


def _is_wanted(name: str, part: str) -> bool:
    return fnmatch.fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))
