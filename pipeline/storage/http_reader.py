"""Reading an object behind http(s) at any offset."""

import os
import tempfile
from typing import BinaryIO

from typing_extensions import override

from pipeline.errors import Unreadable
from pipeline.storage.block_cache import BLOCK_BYTES, BlockReader
from pipeline.storage.http_object import HttpObject
from pipeline.storage.reader import Identity
from pipeline.storage.retry import RetryPolicy


class HttpReader(BlockReader):
    """A server that ignores ranges is asked once for everything, which then lies in an unnamed temporary file."""

    def __init__(self, locator: str, *, expected: Identity | None, retry: RetryPolicy) -> None:
        super().__init__()
        self._object = HttpObject(locator, retry=retry)
        self.uri = self._object.uri
        self._spool: BinaryIO | None = None
        first = self._object.part(0, BLOCK_BYTES)
        self._expected = first.identity if expected is None else expected
        self._compare(first.identity)
        if first.is_range:
            self.size_bytes = first.identity.size_bytes or 0
            if len(first.body) == min(BLOCK_BYTES, self.size_bytes):
                self._keep(0, first.body)
        else:
            spool = self._download()
            self.size_bytes = os.fstat(spool.fileno()).st_size
        if self.size_bytes == 0:
            self.close()
            raise Unreadable(self.uri, "empty")

    @override
    def read_at(self, offset: int, length: int) -> bytes:
        if self._spool is None:
            return super().read_at(offset, length)
        end = min(offset + length, self.size_bytes)
        return _read(self._spool, offset, end) if 0 <= offset < end else b""

    @override
    def close(self) -> None:
        super().close()
        if self._spool is not None:
            self._spool.close()

    @override
    def _identities(self) -> list[Identity]:
        return [self._object.identify()]

    @override
    def _fetch(self, start: int, end: int) -> bytes:
        bodies: list[bytes] = []
        at = start
        while at < end:
            part = self._object.part(at, end)
            self._compare(part.identity)
            if not part.is_range:
                return _read(self._download(), start, end)
            bodies.append(part.body)
            at += len(part.body)
        return b"".join(bodies)

    def _download(self) -> BinaryIO:
        if self._spool is None:
            spool = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the reader)
            try:
                self._compare(self._object.download(spool))
            except BaseException:
                spool.close()
                raise
            self._spool = spool
        return self._spool


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)
