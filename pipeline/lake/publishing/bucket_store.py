"""A dataset in an object store: one PUT makes a file appear whole, and conditions on it keep two writers apart."""

import errno
import io
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar

import pyarrow as pa
from typing_extensions import override

from pipeline.errors import Changed, StorageError, Unreadable, UsageError
from pipeline.lake.publishing.store import FOLDER_MARK, TEMPORARIES, MissingFile, Store, StoreRefused
from pipeline.storage.addresses import canonical_uri
from pipeline.storage.buckets.bucket import Bucket
from pipeline.storage.buckets.errors import BucketRefused
from pipeline.storage.reader import Gone, RangesFile
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy

Result = TypeVar("Result")

# A file is read here and there, at its footer for one: a read of less than this fetches this much.
_AHEAD_BYTES = 1 << 20


class BucketStore(Store):
    """A folder's name in a bucket."""

    def __init__(self, root_uri: str, *, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        """Raises ``UsageError``: no driver, no account or no credentials."""
        self._uri = canonical_uri(root_uri).rstrip("/")
        self._retry = retry
        self._place()

    @property
    @override
    def uri(self) -> str:
        return self._uri

    @override
    def folders(self, folder: str) -> list[str]:
        bucket, key = self._place(folder)
        keys = self._answer(folder, lambda: bucket.folders(key, retry=self._retry))
        return sorted(PurePosixPath(key).name for key in keys)

    @override
    def list(self, folder: str) -> list[str]:
        return list(self.versions(folder))

    @override
    def versions(self, folder: str) -> dict[str, str]:
        bucket, key = self._place(folder)
        begin = len(key) - len(folder)
        objects = self._answer(folder, lambda: list(bucket.objects(key, retry=self._retry)))
        own = [(listed.key[begin:], listed.identity.etag or "") for listed in objects]
        return {name: version for name, version in own if "/" not in name[len(folder) + 1 :]}

    @override
    def version(self, name: str) -> str | None:
        bucket, key = self._place(name)
        try:
            return self._answer(name, lambda: bucket.head(key, retry=self._retry)).etag
        except MissingFile:
            return None

    def modified_s(self, name: str) -> float | None:
        """When a file was written, in seconds since the Unix epoch by the store's clock; ``None``: it is not there."""
        bucket, key = self._place(name)
        try:
            return self._answer(name, lambda: bucket.modified_s(key, retry=self._retry))
        except MissingFile:
            return None

    @override
    def read(self, name: str) -> bytes:
        return self._fetch(name)[0]

    def fetch(self, name: str) -> tuple[bytes, str] | None:
        """A file's content and version; ``None``: it is not there."""
        try:
            return self._fetch(name)
        except MissingFile:
            return None

    @override
    def open_input(self, name: str) -> pa.NativeFile:
        """As ``Store.open_input``; reads by range."""
        bucket, key = self._place(name)
        identity = self._answer(name, lambda: bucket.head(key, retry=self._retry))

        def read_at(offset: int, length: int) -> bytes:
            span = {"start": offset, "end": offset + length}
            try:
                return self._answer(name, lambda: bucket.read(key, **span, etag=identity.etag, retry=self._retry))
            except Changed:
                raise OSError(errno.ESTALE, "replaced while it was read") from None

        ranges = io.BufferedReader(RangesFile(read_at, size_bytes=identity.size_bytes or 0), buffer_size=_AHEAD_BYTES)
        return pa.PythonFile(ranges, mode="r")

    @override
    def publish(self, name: str, data: bytes, *, overwrite: bool = False) -> bool:
        bucket, key = self._place(name)
        put = lambda: bucket.put(key, data, if_absent=not overwrite, retry=self._retry)  # noqa: E731
        return self._answer(name, put) is not None

    @override
    def publish_folder(self, name: str, files: Mapping[str, bytes]) -> bool:
        """As ``Store.publish_folder``; the folder is there with the last of its files."""
        if FOLDER_MARK not in files:
            raise ValueError(f"a folder without {FOLDER_MARK} cannot be told from half a one: {name}")
        mark = f"{name}/{FOLDER_MARK}"
        if self.version(mark) is None:
            for file in sorted(files.keys() - {FOLDER_MARK}):
                self.publish(f"{name}/{file}", files[file], overwrite=True)
            return self.publish(mark, files[FOLDER_MARK])
        # It may be our own, of a call whose answer was lost.
        contents = ((self.fetch(f"{name}/{file}"), data) for file, data in files.items())
        return all(content is not None and content[0] == data for content, data in contents)

    @override
    def replace(self, name: str, data: bytes, *, version: str | None) -> bool:
        bucket, key = self._place(name)
        is_new = version is None
        put = lambda: bucket.put(key, data, if_absent=is_new, if_etag=version, retry=self._retry)  # noqa: E731
        return self._answer(name, put) is not None

    @override
    def remove(self, name: str) -> None:
        bucket, key = self._place(name)
        self._answer(name, lambda: bucket.delete(key, retry=self._retry))

    @override
    def remove_folder(self, name: str) -> None:
        if not name:
            raise ValueError("the root is not removed")
        bucket, key = self._place(name)
        for each in self._answer(name, lambda: list(bucket.objects(key, retry=self._retry))):
            self._answer(name, partial(bucket.delete, each.key, retry=self._retry))

    @override
    def ensure_writable(self) -> None:
        """As ``Store.ensure_writable``; also that the store heeds the conditions which keep two writers apart."""
        bucket, key = self._place(f"{TEMPORARIES}/probe.{uuid.uuid4().hex}")
        try:
            bucket.put(key, b"vidlake", if_absent=True, retry=self._retry)
            heeds = (
                bucket.put(key, b"again", if_absent=True, retry=self._retry) is None
                and bucket.put(key, b"again", if_etag="0", retry=self._retry) is None
            )
            bucket.delete(key, retry=self._retry)
        except (Unreadable, BucketRefused) as error:
            detail = error.detail if isinstance(error, Unreadable) else str(error).removeprefix(f"{bucket.uri}: ")
            raise UsageError(f"cannot write to {self.uri}: {detail}") from None
        if not heeds:
            raise UsageError(
                f"cannot write to {self.uri}: the store does not know conditional writes, which keep two runs apart: "
                "give another --out"
            )

    @override
    def clear_temporaries(self) -> None:
        """Nothing is to be done: a file is one PUT, and another run's probe must not go before its time."""

    def _fetch(self, name: str) -> tuple[bytes, str]:
        bucket, key = self._place(name)
        data, identity = self._answer(name, lambda: bucket.get(key, retry=self._retry))
        return data, identity.etag or ""

    def _place(self, name: str = "") -> tuple[Bucket, str]:
        """The bucket, which is no part of what travels between processes, and the key of a name."""
        parts = PurePosixPath(name).parts
        if ".." in parts or name.startswith("/"):
            raise ValueError(f"not a name inside a dataset: {name!r}")
        return Bucket.of(f"{self._uri}/{name}" if name else self._uri)

    def _answer(self, name: str, call: Callable[[], Result]) -> Result:
        """A dataset's file is no video: what the store says about it stops the run."""
        try:
            return call()
        except Gone:
            raise MissingFile(f"{self._uri}/{name}: not in the dataset") from None
        except Changed:
            raise
        except BucketRefused as error:
            raise StoreRefused(str(error)) from None
        except Unreadable as error:
            raise StorageError(f"{error.uri}: {error.detail}") from None
