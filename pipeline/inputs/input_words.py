"""From the command line's INPUT words to the videos they name."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import has_magic

import pyarrow as pa

from pipeline.errors import Unreadable, UsageError
from pipeline.inputs.identify import identified
from pipeline.inputs.manifests import Entry, Manifest, is_manifest
from pipeline.inputs.sources import Source
from pipeline.records.ids import ID_BYTES, Ids
from pipeline.storage.addresses import is_in_bucket, is_local, local_locator, local_path, name_of, shown
from pipeline.storage.buckets.listing import BucketListing, ListedObject
from pipeline.storage.local import find_path
from pipeline.storage.local_listing import LocalListing
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy
from pipeline.storage.schemes import require_scheme


class Inputs:
    """The sources that INPUT words name, in the words' order, each (video, range) once; iterate as often as needed.

    Constructing checks all that a user can get wrong, manifests to their last row; iterating lists and asks stores,
    remote ones ahead and side by side.

    Attributes:
        fields: the manifests' further columns, with their types.

    Raises:
        UsageError: a word names nothing, an address cannot be read here, or a manifest is bad.
        StorageError: a store failed, after retries; also while iterating.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        exclude: str | None = None,
        reserved: frozenset[str] = frozenset(),
        retry: RetryPolicy = DEFAULT_RETRY,
    ) -> None:
        """Check the words.

        Args:
            words: files, folders, patterns, manifests, addresses.
            exclude: the dataset's own folder, not to be listed as input.
            reserved: column names that no manifest may have.
            retry: for what may pass.
        """
        own_folder = find_path(exclude) if exclude is not None and is_local(exclude) else None
        own_bucket = exclude if exclude is not None and is_in_bucket(exclude) else None
        self._listing = LocalListing(exclude=own_folder, retry=retry)
        self._bucket_listing = BucketListing(exclude=own_bucket, retry=retry)
        self._retry = retry
        self._parts = [self._part(word, reserved=reserved) for word in words]
        self.fields = _united([part for part in self._parts if isinstance(part, Manifest)])

    def __iter__(self) -> Iterator[Source]:
        seen = Ids()
        yield from identified((entry for entry in self._entries() if _is_new(entry, seen)), retry=self._retry)

    def _part(self, word: str, *, reserved: frozenset[str]) -> "Manifest | _Path | _Pattern":
        require_scheme(word)
        if is_in_bucket(word):
            return self._bucket_part(word, reserved=reserved)
        if is_local(word):
            return self._local_part(word, reserved=reserved)
        return Manifest(word, reserved=reserved, retry=self._retry) if is_manifest(word) else _Path(word)

    def _local_part(self, word: str, *, reserved: frozenset[str]) -> "Manifest | _Path | _Pattern":
        path = find_path(word)
        locator = local_locator(path)
        if os.path.isdir(path):
            if next(self._listing.files(path), None) is None:
                raise UsageError(f"no such input: {shown(word)} holds no files")
            return _Path(locator)
        if os.path.exists(path):
            return Manifest(locator, reserved=reserved, retry=self._retry) if is_manifest(locator) else _Path(locator)
        if has_magic(path):
            if next(self._expanded(_Pattern(path)), None) is None:
                raise UsageError(f"no such input: {shown(word)} matches no file")
            return _Pattern(path)
        raise UsageError(f"no such input: {shown(word)} does not exist")

    def _bucket_part(self, word: str, *, reserved: frozenset[str]) -> "Manifest | _Path | _Pattern":
        kind = self._bucket_listing.kind_of(word)
        if kind == "pattern":
            return _Pattern(word)
        if kind == "folder":
            return _Path(f"{word.rstrip('/')}/")
        return Manifest(word, reserved=reserved, retry=self._retry) if is_manifest(word) else _Path(word)

    def _entries(self) -> Iterator[Entry | Unreadable]:
        for part in self._parts:
            if isinstance(part, Manifest):
                yield from itertools.chain.from_iterable(map(self._files_of, part))
            else:
                yield from self._expanded(part)

    def _expanded(self, part: "_Path | _Pattern") -> Iterator[Entry | Unreadable]:
        if isinstance(part, _Pattern) and is_in_bucket(part.text):
            yield from _listed(self._bucket_listing.glob(part.text), like=Entry(locator=part.text, columns={}))
            return
        if isinstance(part, _Path):
            yield from self._files_of(Entry(locator=part.text, columns={}))
            return
        for match in self._listing.glob(part.text):
            if isinstance(match, Unreadable):
                yield match
            else:
                yield from self._files_of(Entry(locator=local_locator(match), columns={}))

    def _files_of(self, entry: Entry) -> Iterator[Entry | Unreadable]:
        """The entry itself, or where it is a folder, one for each of its files; a bucket's folder ends in a slash."""
        if is_in_bucket(entry.locator) and entry.locator.endswith("/"):
            yield from _listed(self._bucket_listing.files(entry.locator), like=entry)
            return
        folder = local_path(entry.locator) if is_local(entry.locator) else None
        if folder is None or not os.path.isdir(folder):
            yield entry
            return
        for path in self._listing.files(folder):
            yield path if isinstance(path, Unreadable) else dataclasses.replace(entry, locator=local_locator(path))


@dataclass(frozen=True, slots=True)
class _Path:
    """A file, a folder or a remote address; a folder of a bucket ends in a slash."""

    text: str


@dataclass(frozen=True, slots=True)
class _Pattern:
    """An absolute path with wildcards, or the address of a bucket with some."""

    text: str


def _is_new(entry: Entry | Unreadable, seen: Ids) -> bool:
    if isinstance(entry, Unreadable):
        key = repr((entry.uri, None, None))
    else:
        key = repr((name_of(entry.locator), entry.start_s, entry.end_s))
    # As long as a video's id, and held like one: a million addresses are more than a driver should hold.
    digest = hashlib.blake2b(key.encode(), digest_size=ID_BYTES // 2).hexdigest()
    return seen.add(digest)


def _listed(objects: Iterable[ListedObject], *, like: Entry) -> Iterator[Entry]:
    for each in objects:
        yield dataclasses.replace(like, locator=each.uri, identity=each.identity)


def _united(manifests: Sequence[Manifest]) -> list[pa.Field]:
    fields: dict[str, pa.Field] = {}
    for manifest in manifests:
        for field in manifest.fields:
            known = fields.setdefault(field.name, field)
            if known.type != field.type:
                raise UsageError(
                    f"manifest {manifest.uri}: column {field.name} is {field.type} here and {known.type} in another one"
                )
    return list(fields.values())
