"""Folders and patterns of the local file system, as streams of paths in a stable order."""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.errors import Unreadable
from pipeline.storage.addresses import shown
from pipeline.storage.local import verdict
from pipeline.storage.reader import Gone
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy, persistently


@dataclass(frozen=True, slots=True, kw_only=True)
class _FolderEntry:
    """A name in a folder. Neither folder nor file: a link that leads nowhere, a pipe, a device."""

    name: str
    path: str
    is_folder: bool
    is_file: bool
    is_link: bool


class LocalListing:
    """Lists paths, their names' bytes as they are; hidden names and one folder, the dataset's own, are passed over."""

    def __init__(self, *, exclude: str | None = None, retry: RetryPolicy = DEFAULT_RETRY) -> None:
        self._exclude = exclude
        self._retry = retry

    def files(self, folder: str) -> Iterator[str | Unreadable]:
        """All files below a folder, sorted by path.

        Links are followed, but each folder is listed once, under its own name where it lies below ``folder`` itself:
        what is reached through links comes last. A folder that may not be listed is an ``Unreadable`` in the stream.

        Raises:
            StorageError: listing failed, after retries.
        """
        for entry in self._walk(folder):
            if isinstance(entry, Unreadable):
                yield entry
            elif not entry.is_folder:
                yield entry.path

    def glob(self, pattern: str) -> Iterator[str | Unreadable]:
        """The paths, folders included, that match an absolute pattern of ``*``, ``?``, ``[...]`` and ``**``."""
        return self._match("/", [part for part in pattern.split("/") if part])

    def _match(self, base: str, parts: Sequence[str]) -> Iterator[str | Unreadable]:
        if self._is_excluded(base):
            return
        if not parts:
            if os.path.lexists(base):
                yield base
        elif parts[0] == "**":
            yield from self._match_below(base, parts[1:])
        elif glob.has_magic(parts[0]):
            yield from self._match_names(base, parts)
        else:
            yield from self._match(os.path.join(base, parts[0]), parts[1:])

    def _match_names(self, base: str, parts: Sequence[str]) -> Iterator[str | Unreadable]:
        entries = self._entries(base)
        if isinstance(entries, Gone):
            return  # a pattern below what does not exist matches nothing
        if isinstance(entries, Unreadable):
            yield entries
            return
        for entry in entries:
            is_wanted = not entry.name.startswith(".") or parts[0].startswith(".")
            if is_wanted and fnmatch.fnmatchcase(entry.name, parts[0]) and (len(parts) == 1 or entry.is_folder):
                yield from self._match(entry.path, parts[1:])

    def _match_below(self, base: str, parts: Sequence[str]) -> Iterator[str | Unreadable]:
        if not parts:
            yield from self.files(base)
            return
        yield from self._match(base, parts)
        for entry in self._walk(base):
            if isinstance(entry, Unreadable):
                yield entry
            elif entry.is_folder:
                yield from self._match(entry.path, parts)

    def _walk(self, root: str) -> Iterator[_FolderEntry | Unreadable]:
        seen: set[tuple[int, int] | str] = set()
        linked: list[_FolderEntry] = []
        yield from self._descend(root, seen=seen, linked=linked)
        while linked:
            entry = linked.pop(0)
            if _key(entry.path) not in seen:
                yield entry
                yield from self._descend(entry.path, seen=seen, linked=linked)

    def _descend(
        self, folder: str, *, seen: set[tuple[int, int] | str], linked: list[_FolderEntry]
    ) -> Iterator[_FolderEntry | Unreadable]:
        key = _key(folder)
        if key in seen or self._is_excluded(folder):
            return
        seen.add(key)
        entries = self._entries(folder)
        if isinstance(entries, Unreadable):
            yield entries
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_folder and entry.is_link:
                linked.append(entry)
            elif entry.is_folder and not self._is_excluded(entry.path):
                yield entry
                yield from self._descend(entry.path, seen=seen, linked=linked)
            elif entry.is_file or entry.is_link:
                yield entry

    def _entries(self, folder: str) -> list[_FolderEntry] | Unreadable:
        def scan() -> list[_FolderEntry]:
            try:
                with os.scandir(folder) as entries:
                    listed = [_looked_at(entry) for entry in entries]
            except OSError as error:
                raise verdict(error, uri=shown(folder)) from None
            # A folder's name stands for all that is below it, so that whole paths come out sorted.
            return sorted(listed, key=lambda entry: entry.name + "/" * entry.is_folder)

        try:
            return persistently(scan, uri=shown(folder), retry=self._retry)
        except Unreadable as error:
            return error

    def _is_excluded(self, path: str) -> bool:
        if self._exclude is None:
            return False
        inside = os.path.join(self._exclude, "")
        return os.path.join(path, "").startswith(inside) or (
            os.path.isdir(path) and os.path.realpath(path) == os.path.realpath(self._exclude)
        )


def _looked_at(entry: "os.DirEntry[str]") -> _FolderEntry:
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
    except OSError:  # a link in a circle, or into a folder that is closed to us
        is_folder = is_file = False
    return _FolderEntry(
        name=entry.name, path=entry.path, is_folder=is_folder, is_file=is_file, is_link=entry.is_symlink()
    )


def _key(folder: str) -> tuple[int, int] | str:
    try:
        status = os.stat(folder)
    except OSError:
        return folder  # listing it says what is wrong
    return status.st_dev, status.st_ino
