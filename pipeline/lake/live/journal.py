"""The journal of a lake's streams, ``_vidlake/live``: a folder a stream, a file a commit, until it is published."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from pipeline.errors import StorageError
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.entries import Entry, EntryHeader, EntryKey, read_entry, read_header
from pipeline.lake.live.names import entry_key, entry_name, writer_in
from pipeline.lake.publishing.store import MissingFile

Result = TypeVar("Result")

LIVE = "_vidlake/live"


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFile:
    """A file of the journal, and the entry that it holds."""

    name: str
    key: EntryKey


class Journal:
    """The entries of one stream."""

    def __init__(self, files: DatasetFiles, stream: str) -> None:
        self.stream = stream
        self._files = files
        self._folder = f"{LIVE}/{stream}"

    @classmethod
    def all(cls, files: DatasetFiles) -> list[Self]:
        """Those of all streams that ever wrote into a lake, by their names."""
        return [cls(files, stream) for stream in sorted(files.store.folders(LIVE))]

    def listed(self) -> list[JournalFile]:
        """The files of entries, by writer and number."""
        found = []
        for name in self._files.store.list(self._folder):
            key = entry_key(self.stream, name)
            if key is not None:
                found.append(JournalFile(name=name, key=key))
        return sorted(found, key=lambda each: (each.key.writer, each.key.number))

    def entries(self) -> Iterator[Entry]:
        """The entries that are there, with their rows; one that is published and removed meanwhile is left out."""
        for each in self.listed():
            entry = self._read(each, read_entry)
            if entry is not None:
                yield entry

    def headers(self) -> list[EntryHeader]:
        """The same without their rows."""
        headers = (self._read(each, read_header) for each in self.listed())
        return [header for header in headers if header is not None]

    def write(self, entry: Entry, *, token: str) -> int:
        """Write an entry, whole and durable when this returns; one that is there already, by an earlier try, is fine.

        Returns:
            Its size in bytes.

        Raises:
            LeaseLost: another program writes the stream.
            StorageError: the store failed, or holds another entry of this number.
        """
        key = entry.header.key
        name = f"{self._folder}/{entry_name(key)}"
        data = entry.to_bytes()
        if self._files.fence(token).publish(name, data, stand_in=b""):
            return len(data)
        there = [self._read(each, read_entry) for each in self.listed() if each.key == key]
        if not any(other is not None and entry.is_same(other) for other in there):
            raise StorageError(f"{self._files.uri(name)} holds another batch: commit what failed before once more")
        return len(data)

    def remove(self, keys: Collection[EntryKey], *, token: str) -> None:
        """Remove entries that are published."""
        for each in self.listed():
            if each.key in keys:
                self._files.fence(token).remove(each.name)

    @property
    def opened_by(self) -> str | None:
        """The writer that is at work, or the first of those that did not end in order; ``None``: there is none.

        It is an empty name where the mark names nobody: earlier versions did not, or the file is damaged.
        """
        try:
            return writer_in(self._files.store.read(self._open))
        except MissingFile:
            return None

    def mark_open(self, writer: str, *, token: str) -> None:
        """Note that a writer is at work, so that the next one knows whether it ended in order.

        A mark that is there stays: the writer that it names was killed, and what that cost is not told yet.
        """
        self._files.fence(token).replace(self._open, json.dumps({"writer": writer}).encode(), version=None)

    def mark_closed(self, *, token: str) -> None:
        """The inverse."""
        self._files.fence(token).remove(self._open)

    @property
    def _open(self) -> str:
        return f"{self._folder}/open.json"

    def _read(self, file: JournalFile, how: Callable[..., Result | None]) -> Result | None:
        try:
            return self._files.read(file.name, partial(how, uri=self._files.uri(file.name)))
        except MissingFile:
            return None
