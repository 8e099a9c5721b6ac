"""What a head's version is made of on disk, and what reading one asks of the place that it lies in."""

from typing import Protocol

from pipeline.errors import UsageError

HEAD_JSON = "head.json"
WEIGHTS = "weights.safetensors"
METRICS = "metrics.json"
CONFUSION = "confusion.png"
README = "README.md"
FILES = (HEAD_JSON, WEIGHTS, METRICS, CONFUSION, README)
"""Of the folder of a version."""

CURRENT = "current"
"""Beside the versions: the number of the one in use."""

MAX_DOCUMENT_BYTES = 1 << 24
"""Of a JSON file, or of what is smaller: what is larger is no head's."""

MAX_WEIGHTS_BYTES = 1 << 31


class HeadFiles(Protocol):
    """The place where heads lie; a dataset's store is one. Names are relative posix paths.

    All methods raise ``StorageError`` where the place fails.
    """

    @property
    def uri(self) -> str:
        """Of the place."""

    def folders(self, folder: str) -> list[str]:
        """The sorted names of the folders right in a folder; empty: in the root."""

    def read(self, name: str) -> bytes:
        """A file's content."""

    def version(self, name: str) -> str | None:
        """What tells a file from its replacement; ``None``: there is none of that name."""


def joined(folder: str, name: str) -> str:
    """The name of a file or folder within a folder, which may be the root."""
    return f"{folder}/{name}" if folder else name


def read_bounded(files: HeadFiles, name: str, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
    """A file's content.

    Raises:
        UsageError: it is not there, or larger than ``max_bytes``.
    """
    if files.version(name) is None:
        raise UsageError(f"{files.uri}/{name}: is not there; give a head that train has finished")
    data = files.read(name)
    if len(data) > max_bytes:
        raise UsageError(f"{files.uri}/{name}: {len(data)} bytes are more than the {max_bytes} that a head's has")
    return data


def one_line(error: BaseException) -> str:
    """What an error says, short enough for a message of one line."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words}"[:200] if words else type(error).__name__
