"""HTTP as far as sources need it: every address on the way, redirects too, is held against what is allowed."""

import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urljoin

from typing_extensions import override

from pipeline.cameras.pulling.connector.connecting import Connections
from pipeline.cameras.pulling.connector.logins import Challenge
from pipeline.cameras.pulling.connector.task import Task
from pipeline.cameras.pulling.ended import EndReason, SourceFailed
from pipeline.cameras.pulling.source import Origin, parsed_address, shown
from pipeline.errors import UsageError

_MOST_REDIRECTS = 5
_ANSWER_TIMEOUT_S = 20.0
_READ_BYTES = 1 << 16
_HEADERS = {"User-Agent": "vidlake", "Accept": "*/*", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of what lies at an address."""

    first: int
    length: int


class _CheckedConnection(http.client.HTTPConnection):
    """Whenever the library connects, it connects through us."""

    def __init__(self, origin: Origin, connections: Connections) -> None:
        super().__init__(origin.host, origin.port)
        self.default_port = 443 if origin.is_encrypted else 80
        self._origin = origin
        self._connections = connections

    @override
    def connect(self) -> None:
        self.sock: socket.socket = self._connections.connect(self._origin)
        self.sock.settimeout(_ANSWER_TIMEOUT_S)


class Answer:
    """What came back for an address."""

    def __init__(self, response: http.client.HTTPResponse, *, origin: Origin, target: str) -> None:
        self._response = response
        self.url = f"{origin}{target}"
        """Where it came from, after redirects; secrets included."""
        self.shown_url = shown(origin, target)
        self.status = response.status
        self.content_type = (response.headers.get_content_type() or "").lower()
        self.length = response.length
        """``None``: it goes on until the other side hangs up."""

        self.chunks = self._read_chunks()
        """The body, as it comes; ``SourceFailed`` where it breaks off."""

    def _read_chunks(self) -> Iterator[bytes]:
        left = self.length
        try:
            while left != 0 and (data := self._response.read1(_READ_BYTES if left is None else min(left, _READ_BYTES))):
                left = None if left is None else left - len(data)
                yield data
            if left == 0:  # Python 3.11 does not count what ``read1`` reads, and the connection is wanted again
                self._response.length = 0
                self._response.read()
        except (OSError, http.client.HTTPException) as error:
            raise SourceFailed(EndReason.CLOSED, f"{self.shown_url}: {_reason(error)}") from None
        if left:
            raise SourceFailed(EndReason.CLOSED, f"{self.shown_url}: the body broke off")

    def read(self, *, most_bytes: int) -> bytes:
        """What is left of the body.

        Raises:
            SourceFailed: it breaks off, or is longer.
        """
        data = bytearray()
        for chunk in self.chunks:
            data += chunk
            if len(data) > most_bytes:
                raise SourceFailed(EndReason.UNREADABLE, f"{self.shown_url}: more than {most_bytes} bytes")
        return bytes(data)


class HttpClient:
    """Fetches what lies at allowed addresses. Credentials go to the source's own origin alone."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._connections = Connections(task.allowed)
        self._open: dict[Origin, _CheckedConnection] = {}
        self._challenge: Challenge | None = None

    def get(self, url: str, *, byte_range: ByteRange | None = None) -> Answer:
        """What lies at an address.

        Raises:
            SourceFailed: it may not be reached, or there is nothing.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            origin, target = self._checked(url)
            response = self._answered(origin, target, byte_range)
            location = response.headers.get("Location")
            if response.status in (301, 302, 303, 307, 308) and location:
                self._drop(origin)
                url = _joined(f"{origin}{target}", location)
                continue
            if response.status not in (200, 206):
                self._drop(origin)
                raise _refusal(response, shown(origin, target))
            return Answer(response, origin=origin, target=target)
        raise SourceFailed(EndReason.UNREACHABLE, "too many redirects")

    def fetch(self, url: str, *, most_bytes: int, byte_range: ByteRange | None = None) -> bytes:
        """The whole of what lies at an address, or a part of it.

        Raises:
            SourceFailed: it may not be reached, there is nothing, or it is longer.
        """
        answer = self.get(url, byte_range=byte_range)
        data = answer.read(most_bytes=most_bytes)
        if byte_range is not None and answer.status == 200:  # it gave all
            data = data[byte_range.first : byte_range.first + byte_range.length]
        return data

    def _checked(self, url: str) -> tuple[Origin, str]:
        try:
            origin, target, _ = parsed_address(url)
        except UsageError as error:
            raise SourceFailed(EndReason.REFUSED, f"it leads to what is not fetched: {error}") from None
        if origin.scheme not in ("http", "https"):
            raise SourceFailed(EndReason.REFUSED, f"it leads to {origin}, which is not HTTP")
        self._connections.check(origin)
        return origin, target

    def _answered(self, origin: Origin, target: str, byte_range: ByteRange | None) -> http.client.HTTPResponse:
        response = self._sent(origin, target, byte_range)
        if response.status == 401 and origin == self._task.origin and self._task.login is not None:
            challenge = Challenge.best_of(response.headers.get_all("WWW-Authenticate") or [])
            self._drop(origin)
            if challenge is not None:
                self._challenge = challenge
                response = self._sent(origin, target, byte_range)
        return response

    def _sent(self, origin: Origin, target: str, byte_range: ByteRange | None) -> http.client.HTTPResponse:
        headers = dict(_HEADERS)
        if byte_range is not None:
            headers["Range"] = f"bytes={byte_range.first}-{byte_range.first + byte_range.length - 1}"
        if self._challenge is not None and self._task.login is not None and origin == self._task.origin:
            headers["Authorization"] = self._challenge.answer(self._task.login, method="GET", uri=target)
        was_open = origin in self._open
        try:
            return self._asked(origin, target, headers)
        except (OSError, http.client.HTTPException) as error:
            self._drop(origin)
            if not was_open:
                raise SourceFailed(EndReason.UNREACHABLE, f"{shown(origin, target)}: {_reason(error)}") from None
        try:  # a server hangs up after a while
            return self._asked(origin, target, headers)
        except (OSError, http.client.HTTPException) as error:
            self._drop(origin)
            raise SourceFailed(EndReason.UNREACHABLE, f"{shown(origin, target)}: {_reason(error)}") from None

    def _asked(self, origin: Origin, target: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = self._open.setdefault(origin, _CheckedConnection(origin, self._connections))
        connection.request("GET", target, headers=headers)
        return connection.getresponse()

    def _drop(self, origin: Origin) -> None:
        connection = self._open.pop(origin, None)
        if connection is not None:
            connection.close()


def _refusal(response: http.client.HTTPResponse, shown_url: str) -> SourceFailed:
    reason = EndReason.UNAUTHORIZED if response.status in (401, 403) else EndReason.UNREACHABLE
    return SourceFailed(reason, f"{shown_url}: {response.status} {response.reason}"[:300])


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise SourceFailed(EndReason.REFUSED, "it leads to what is no address") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
