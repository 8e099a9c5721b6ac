"""Objects behind http(s): their identity and reads by range, over fsspec's session and event loop."""

import dataclasses
import http.client
import os
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import BinaryIO, TypeVar

import aiohttp
import fsspec
import yarl
from fsspec.asyn import sync
from typing_extensions import override

from pipeline.errors import Changed, StorageError, Unreadable
from pipeline.storage.addresses import canonical_uri
from pipeline.storage.block_cache import BLOCK_BYTES, BlockReader
from pipeline.storage.reader import Gone, Identity
from pipeline.storage.retry import RetryPolicy, Transient, persistently

Result = TypeVar("Result")

_FINAL_STATUS = frozenset({401, 403, 404, 410, 451})
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=20)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An answer to a request for a range; ``is_range`` false: the server sends only the whole, and none was read."""

    identity: Identity
    is_range: bool
    body: bytes


class HttpObject:
    """One address, asked with retries. Raises ``Unreadable`` where it is none."""

    def __init__(self, locator: str, *, retry: RetryPolicy) -> None:
        self.uri = canonical_uri(locator)
        self._retry = retry
        # One per thread and process: fsspec's own cache sees to both.
        options = fsspec.config.conf.get("http", {}).get("client_kwargs", {})
        self._fs = fsspec.filesystem("http", client_kwargs={"trust_env": True, **options})
        try:
            # A signature must arrive as it was written: requote only what could not be sent.
            self._url = yarl.URL(locator, encoded=re.fullmatch(r"[!-~]+", locator) is not None)
        except ValueError:
            raise Unreadable(self.uri, "not a valid address") from None

    def part(self, start: int, end: int) -> Part:
        """Bytes ``[start, end)``, or fewer where the server prefers."""
        return self._ask(lambda: self._get_part(start, end), retry=self._retry)

    def download(self, file: BinaryIO) -> Identity:
        """Write the whole object to an empty file."""
        # A long download that breaks after the timeout still deserves its attempts.
        return self._ask(lambda: self._get_whole(file), retry=dataclasses.replace(self._retry, timeout_s=None))

    def _ask(self, question: Callable[[], Awaitable[Result]], *, retry: RetryPolicy) -> Result:
        def call() -> Result:
            answer: Result = sync(self._fs.loop, question)
            return answer

        return persistently(call, uri=self.uri, retry=retry)

    async def _get_part(self, start: int, end: int) -> Part:
        async with self._response({"Range": f"bytes={start}-{end - 1}"}) as response:
            identity = _identity(response)
            if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                if start > 0:
                    raise Changed(self.uri, "shorter than when it was listed")
                return Part(identity=dataclasses.replace(identity, size_bytes=0), is_range=True, body=b"")
            if response.status != http.client.PARTIAL_CONTENT or identity.size_bytes is None:
                response.close()
                return Part(identity=identity, is_range=False, body=b"")
            if _content_range(response)[0] != start:
                raise Transient("the server answered with another range than the one asked for")
            body = await response.read()
            if not 0 < len(body) <= end - start:
                raise Transient(f"the server answered {len(body)} bytes where {end - start} were asked for")
            return Part(identity=identity, is_range=True, body=body)

    async def _get_whole(self, file: BinaryIO) -> Identity:
        file.seek(0)
        file.truncate()
        async with self._response({}) as response:
            async for chunk in response.content.iter_chunked(BLOCK_BYTES):
                _keep(chunk, file, uri=self.uri)
            file.flush()
            return _identity(response)

    @asynccontextmanager
    async def _response(self, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        options = dict(self._fs.kwargs)
        headers = {**options.pop("headers", {}), "Accept-Encoding": "identity", **headers}
        session: aiohttp.ClientSession = await self._fs.set_session()
        try:
            async with session.get(self._url, headers=headers, timeout=_TIMEOUT, **options) as response:
                self._check_status(response.status)
                yield response
        # What aiohttp says of an address may quote it, signature included: only connection errors speak for themselves.
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise Unreadable(self.uri, "not a valid address, or redirected to one") from None
        except TimeoutError:
            raise Transient("timed out") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise Transient(f"connection failed: {error}") from None
        except aiohttp.ClientError as error:
            raise Transient(f"request failed: {type(error).__name__}") from None

    def _check_status(self, status: int) -> None:
        if status in (http.client.OK, http.client.PARTIAL_CONTENT, http.client.REQUESTED_RANGE_NOT_SATISFIABLE):
            return
        detail = f"HTTP {status} {http.client.responses.get(status, '')}".rstrip()
        if status in (http.client.NOT_FOUND, http.client.GONE):
            raise Gone(self.uri, detail)
        if status in _FINAL_STATUS:
            raise Unreadable(self.uri, detail)
        raise Transient(detail)


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

    def _identities(self) -> list[Identity]:
        return [self._object.part(0, 1).identity]

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


def _keep(chunk: bytes, file: BinaryIO, *, uri: str) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise StorageError(
            f"{uri}: no temporary copy in {tempfile.gettempdir()}: {error.strerror}; free space or set TMPDIR"
        ) from None


def _content_range(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """First offset and the object's size, where ``Content-Range`` gives them."""
    match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return int(match[1]) if match[1] else None, None if match[2] == "*" else int(match[2])


def _identity(response: aiohttp.ClientResponse) -> Identity:
    if response.headers.get("Content-Encoding", "identity") not in ("", "identity"):
        size_bytes = None  # lengths and ranges are those of the compressed form
    elif response.status == http.client.OK:
        size_bytes = response.content_length
    else:
        size_bytes = _content_range(response)[1]
    try:
        modified = parsedate_to_datetime(response.headers["Last-Modified"])
        mtime_ns = int(modified.timestamp()) * 10**9
    except (KeyError, ValueError):
        mtime_ns = None
    return Identity(size_bytes=size_bytes, etag=response.headers.get("ETag"), mtime_ns=mtime_ns)


def identify(locator: str, *, retry: RetryPolicy) -> Identity:
    """Ask for one byte: a link that is signed for GET alone refuses HEAD."""
    return HttpObject(locator, retry=retry).part(0, 1).identity
