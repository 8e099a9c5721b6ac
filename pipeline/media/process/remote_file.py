"""The object at hand as a file, for the decoder process, which opens nothing itself."""

import io
import os

from pipeline.media.process.wire import Channel, ask_for_bytes

UNNAMED = "the file"
"""A decoder is not told the address of what it reads; its parent names it in errors."""


class StorageFault(Exception):
    """The parent could not read the store; it knows why."""


class RemoteFile(io.RawIOBase):
    """A video as a nameless, seekable file; the bytes come from the parent."""

    def __init__(self, source: Channel, *, size_bytes: int) -> None:
        self._source = source
        self._size_bytes = size_bytes
        self._offset = 0

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def seekable(self) -> bool:
        """Any byte can be read next."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to the byte to read next, and return its offset."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size_bytes}[whence]
        self._offset = max(0, start + offset)
        return self._offset

    def tell(self) -> int:
        """The offset of the byte to read next."""
        return self._offset

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes.

        Raises:
            StorageFault: the store failed.
        """
        left = max(0, self._size_bytes - self._offset)
        length = left if size < 0 else min(size, left)
        if not length:
            return b""
        data = ask_for_bytes(self._source, offset=self._offset, length=length)
        if data is None:
            raise StorageFault
        self._offset += len(data)
        return data

    def read_all(self) -> bytes:
        """All that is left, however long the parent takes it to be in one piece.

        Raises:
            StorageFault: the store failed.
        """
        return b"".join(iter(self.read, b""))
