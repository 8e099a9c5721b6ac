"""A folder of heads: their names, their versions, and which version is in use."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pipeline.errors import UsageError
from pipeline.models.heads.artifact import read_document, read_head
from pipeline.models.heads.files import CURRENT, HEAD_JSON, METRICS, HeadFiles, read_bounded
from pipeline.records.documents import Document
from pipeline.records.heads import is_head_name

if TYPE_CHECKING:
    from pipeline.models.heads.head import Head

_VERSION = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_OURS = "_vidlake"
"""What is on its way, and leases: no head's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadAddress:
    """``HEADS/NAME`` or ``HEADS/NAME@VERSION``."""

    heads: str
    """The folder of heads, a path or an address."""
    name: str
    version: int | None
    """``None``: the one in use."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an address as a person writes it.

        Raises:
            UsageError: it names no head.
        """
        heads, slash, last = text.rstrip("/").rpartition("/")
        name, at, version = last.partition("@")
        is_bucket = heads.endswith(":/")
        if is_bucket or not is_head_name(name) or name == _OURS or (at and not _VERSION.fullmatch(version)):
            raise UsageError(f"{text}: is no head: give HEADS/NAME, or HEADS/NAME@VERSION with a number")
        return cls(heads=heads or (slash or "."), name=name, version=int(version) if at else None)

    @property
    def uri(self) -> str:
        """Of the head's own folder."""
        return f"{self.heads.rstrip('/')}/{self.name}"

    def __str__(self) -> str:
        return self.uri if self.version is None else f"{self.uri}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVersion:
    """A version that is ready to answer."""

    name: str
    version: int
    head: "Head"

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class Heads:
    """A folder of heads, each with its versions and a file that names the one in use.

    All methods raise ``StorageError`` where the place fails.
    """

    def __init__(self, files: HeadFiles) -> None:
        self.files = files

    def names(self) -> list[str]:
        """The sorted names of the heads that have a version."""
        folders = self.files.folders("")
        return [name for name in folders if is_head_name(name) and name != _OURS and self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """The versions of a head, ascending; none where there is no such head."""
        return versions_in(self.files, name)

    def current(self, name: str) -> int | None:
        """The version in use; ``None``: none is.

        Raises:
            UsageError: what says so is damaged.
        """
        return current_in(self.files, name)

    def load(self, name: str, version: int | None = None) -> LoadedVersion:
        """Read a version; ``None``: the one in use.

        Raises:
            UsageError: there is none, or it is not one that can be used.
        """
        if not is_head_name(name):
            raise UsageError(f"{self.files.uri}: no head can be called {name[:100]!r}")
        number = self.current(name) if version is None else version
        if number is None or self.files.version(f"{name}/{number}/{HEAD_JSON}") is None:
            raise self._absent(name, number)
        return LoadedVersion(name=name, version=number, head=read_head(self.files, f"{name}/{number}"))

    def metrics(self, name: str, version: int) -> Document:
        """What was measured of a version.

        Raises:
            UsageError: there is no such file, or it is damaged.
        """
        return read_document(self.files, f"{name}/{version}/{METRICS}")

    def _absent(self, name: str, version: int | None) -> UsageError:
        uri, versions = f"{self.files.uri}/{name}", self.versions(name)
        if not versions:
            return UsageError(f"{uri}: there is no such head; train makes one")
        has = f"it has {', '.join(map(str, versions[-20:]))}"
        if version is None:
            return UsageError(f"{uri}: no version is in use; name one as NAME@VERSION ({has}) or use heads --use")
        return UsageError(f"{uri}: there is no version {version}; {has}")


def versions_in(files: HeadFiles, folder: str) -> list[int]:
    """The versions of the head in a folder, ascending; empty: the place is the head's own.

    A folder that is still on its way into a bucket has no ``head.json`` yet, and is none.
    """
    prefix = f"{folder}/" if folder else ""
    numbers = [int(name) for name in files.folders(folder) if _VERSION.fullmatch(name)]
    return sorted(number for number in numbers if files.version(f"{prefix}{number}/{HEAD_JSON}") is not None)


def current_in(files: HeadFiles, folder: str) -> int | None:
    """The version in use of the head in a folder; empty: the place is the head's own. ``None``: none is.

    Raises:
        UsageError: what says so is damaged.
    """
    name = f"{folder}/{CURRENT}" if folder else CURRENT
    if files.version(name) is None:
        return None
    text = read_bounded(files, name, max_bytes=100).decode("ascii", "replace").strip()
    if not _VERSION.fullmatch(text):
        raise UsageError(f"{files.uri}/{name}: names no version; heads --use writes it anew")
    return int(text)


def current_bytes(version: int) -> bytes:
    """The file that says which version is in use."""
    return f"{version}\n".encode()


def score_of(metrics: Document) -> float | None:
    """The score by which versions are compared: balanced accuracy on the test part, if there is one."""
    test = metrics.get("test")
    score = test.get("balanced_accuracy") if isinstance(test, dict) else None
    return float(score) if isinstance(score, int | float) else None
