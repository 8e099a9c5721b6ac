"""What every reader of a store has in common: an object's identity, and reading it at any offset."""

import hashlib
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from pipeline.errors import Changed, Unreadable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What tells an object from its replacement; a field is ``None`` where the store does not say."""

    size_bytes: int | None = None
    etag: str | None = None
    mtime_ns: int | None = None

    @property
    def strong_etag(self) -> str | None:
        """An etag that no other content has; a weak one may differ from answer to answer of the same object."""
        return None if self.etag is None or self.etag.startswith(("W/", "w/")) else self.etag

    def differs_from(self, other: "Identity") -> bool:
        """Whether both say something that cannot be true of the same content."""
        if None not in (self.size_bytes, other.size_bytes) and self.size_bytes != other.size_bytes:
            return True
        if self.strong_etag is not None and other.strong_etag is not None:
            return self.strong_etag != other.strong_etag
        return None not in (self.mtime_ns, other.mtime_ns) and self.mtime_ns != other.mtime_ns


def video_id(uri: str, identity: Identity) -> str:
    """A stable id of 20 hexadecimal digits: of the canonical URI, the size, and the etag or else the mtime.

    A weak etag counts only where there is nothing else.
    """
    version = next((each for each in (identity.strong_etag, identity.mtime_ns) if each is not None), identity.etag)
    document = json.dumps([uri, identity.size_bytes, version])
    return hashlib.sha256(document.encode("utf-8", "surrogatepass")).hexdigest()[:20]


class Gone(Unreadable):
    """The object does not exist, or no longer."""


class RangesFile(io.RawIOBase):
    """What is read by ``read_at(offset, length)`` as the file object that parsers ask for."""

    def __init__(self, read_at: Callable[[int, int], bytes], *, size_bytes: int) -> None:
        self._read_at = read_at
        self._size_bytes = size_bytes
        self._at = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._at

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size_bytes}[whence]
        self._at = origin + offset
        return self._at

    @override
    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer).cast("B")
        length = min(len(view), self._size_bytes - self._at)
        if length <= 0:
            return 0
        data = self._read_at(self._at, length)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class Reader(ABC):
    """Random access to one object, from one thread at a time.

    Attributes:
        uri: canonical.
        size_bytes: more than 0.
    """

    uri: str
    size_bytes: int
    _expected: Identity

    @abstractmethod
    def read_at(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``; fewer only at the object's end.

        Raises:
            Unreadable: the store's final answer, such as a link that is no longer valid.
            Changed: another object has taken its place.
            StorageError: the store failed, after retries.
        """

    @abstractmethod
    def _identities(self) -> list[Identity]:
        """Who the object is now, in each way that there is to ask."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the reader holds; it cannot be used after that."""

    def check_unchanged(self) -> None:
        """Make sure that what was read is what the name still stands for.

        Raises:
            Changed: it was replaced, modified or removed.
            Unreadable: access was withdrawn meanwhile.
            StorageError: the store failed, after retries.
        """
        try:
            identities = self._identities()
        except Gone:
            raise Changed(self.uri, "removed while it was read") from None
        for identity in identities:
            self._compare(identity)

    def _compare(self, identity: Identity) -> None:
        if self._expected.differs_from(identity):
            raise Changed(self.uri, "replaced or modified since it was listed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
