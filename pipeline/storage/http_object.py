"""One object behind http(s): what is asked of its server, and what each answer counts as. The home of httpx.

An address is sent as it was written, because a signature is of those very bytes. An answer about this one object is
final, whatever its number; an answer about the server, or none, may pass, and stops the run if it does not.
"""

import dataclasses
import http.client
import logging
import os
import re
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from netrc import NetrcParseError
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx

from pipeline.errors import Changed, StorageError, Unreadable
from pipeline.storage.addresses import Place, canonical_uri, place_of
from pipeline.storage.reader import Gone, Identity
from pipeline.storage.retry import OddAnswer, RetryPolicy, Transient, persistently

for _name in ("httpx", "httpcore"):  # they log addresses with their signatures
    logging.getLogger(_name).setLevel(logging.WARNING)

_TIMEOUT = httpx.Timeout(connect=10, read=20, write=20, pool=None)
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=32, keepalive_expiry=15)
_MAX_REDIRECTS = 10
_CHUNK_BYTES = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
_WHOLE = (http.client.OK, http.client.NON_AUTHORITATIVE_INFORMATION)
_NO_RANGE = http.client.REQUESTED_RANGE_NOT_SATISFIABLE
# Of the server and not of the object; so is every number from 500 on.
_ABOUT_THE_SERVER = frozenset(
    {
        http.client.PROXY_AUTHENTICATION_REQUIRED,
        http.client.REQUEST_TIMEOUT,
        http.client.MISDIRECTED_REQUEST,
        http.client.TOO_EARLY,
        http.client.TOO_MANY_REQUESTS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An answer to a request for a range; ``is_range`` false: the server sends only the whole, and none was read."""

    identity: Identity
    is_range: bool
    body: bytes


class HttpObject:
    """One address, asked with retries.

    Every method raises:
        Unreadable: the server's final answer about this object, or one that makes no sense and stays.
        Changed: it is shorter than it was.
        StorageError: the server failed, after retries.
    """

    def __init__(self, locator: str, *, retry: RetryPolicy) -> None:
        self.uri = canonical_uri(locator)
        self._locator = locator
        self._retry = retry

    def part(self, start: int, end: int) -> Part:
        """Bytes ``[start, end)``, or fewer where the server prefers."""
        return persistently(lambda: self._part(start, end), uri=self.uri, retry=self._retry)

    def identify(self) -> Identity:
        """Who the object is. Asks for one byte: a link that is signed for GET alone refuses HEAD."""
        return self.part(0, 1).identity

    def download(self, file: BinaryIO) -> Identity:
        """Write the whole object to an empty file."""
        # A long download may break off after the minute, and still deserves its attempts.
        retry = dataclasses.replace(self._retry, attempts=max(5, self._retry.attempts))
        return persistently(lambda: self._download(file), uri=self.uri, retry=retry)

    def _part(self, start: int, end: int) -> Part:
        with self._answer({"Range": f"bytes={start}-{end - 1}"}) as answer:
            identity = _identity(answer)
            if answer.status_code == _NO_RANGE:
                if start > 0:
                    raise Changed(self.uri, "shorter than when it was listed")
                if identity.size_bytes == 0:
                    return Part(identity=identity, is_range=True, body=b"")
            elif answer.status_code != http.client.PARTIAL_CONTENT or identity.size_bytes is None:
                return Part(identity=identity, is_range=False, body=b"")
            else:
                return Part(identity=identity, is_range=True, body=_ranged_body(answer, start=start, end=end))
        # The server refuses ranges, not the object.
        with self._answer({}) as answer:
            return Part(identity=_identity(answer), is_range=False, body=b"")

    def _download(self, file: BinaryIO) -> Identity:
        file.seek(0)
        file.truncate()
        with self._answer({}) as answer:
            if answer.status_code not in _WHOLE:
                raise OddAnswer(f"{_title(answer.status_code)} to a request for the whole")
            for chunk in answer.iter_bytes(_CHUNK_BYTES):
                _keep(chunk, file, uri=self.uri)
            file.flush()
            return _identity(answer)

    @contextmanager
    def _answer(self, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """The server's answer, its body not yet read, where it holds one."""
        try:
            with _following_redirects(self._locator, headers) as answer:
                self._check_status(answer)
                yield answer
        # What httpx says of an address may quote it, signature included: only connection errors speak for themselves.
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError):
            raise Unreadable(self.uri, "not a valid address, or redirected to one") from None
        except httpx.TooManyRedirects:
            raise Unreadable(self.uri, "redirected in a circle, or to nowhere") from None
        except httpx.DecodingError:
            raise OddAnswer("the answer is compressed, and damaged") from None
        except httpx.TimeoutException:
            raise Transient("timed out") from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise Transient(f"connection failed: {error}") from None
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            raise Transient("the connection broke off") from None
        except httpx.HTTPError as error:
            raise Transient(f"request failed: {type(error).__name__}") from None

    def _check_status(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in (*_WHOLE, http.client.PARTIAL_CONTENT, _NO_RANGE):
            return
        if status in _ABOUT_THE_SERVER or status >= 500:
            raise Transient(_title(status), _retry_after_s(answer))
        if status in (http.client.NOT_FOUND, http.client.GONE):
            raise Gone(self.uri, _title(status))
        raise Unreadable(self.uri, _title(status))


@contextmanager
def _following_redirects(locator: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """The answer to a GET of an address, or of the one that its server sends us on to."""
    client = _client()
    server = ""
    login: httpx.Auth | None = None
    for _ in range(_MAX_REDIRECTS + 1):
        request = _request(client, locator, headers)
        if request.url.userinfo:
            login = httpx.BasicAuth(request.url.username, request.url.password)
        elif request.url.netloc.decode() != server:  # a login is not for the next server
            login = _netrc(os.getpid())
        server = request.url.netloc.decode()
        with closing(client.send(request, stream=True, auth=login)) as answer:
            if not answer.has_redirect_location:
                yield answer
                return
            locator = urljoin(locator, answer.headers["Location"])
    raise httpx.TooManyRedirects("", request=request)


def _request(client: httpx.Client, locator: str, headers: dict[str, str]) -> httpx.Request:
    try:
        parts = urlsplit(locator)
        is_port = parts.port != 0
    except ValueError:
        raise httpx.InvalidURL("") from None
    if place_of(locator) is not Place.WEB or not parts.hostname or not is_port:
        raise httpx.InvalidURL("")
    # What can be sent as it is written must be: quoted anew, a signature is no longer valid.
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    extensions = {"target": target.encode()} if re.fullmatch(r"[!-~]+", target) else {}
    headers = {"Accept-Encoding": "identity", **headers}
    return client.build_request("GET", httpx.URL(locator), headers=headers, extensions=extensions)


_CLIENTS: dict[int, httpx.Client] = {}
"""One a process: all threads share its connections, and a forked child must not."""


def _client() -> httpx.Client:
    client = _CLIENTS.get(os.getpid())
    if client is not None:
        return client
    new = httpx.Client(timeout=_TIMEOUT, limits=_LIMITS, verify=ssl.create_default_context())
    client = _CLIENTS.setdefault(os.getpid(), new)
    if client is not new:  # another thread was faster
        new.close()
    return client


@cache
def _netrc(pid: int) -> httpx.Auth | None:
    try:
        return httpx.NetRCAuth(os.environ.get("NETRC"))
    except (OSError, NetrcParseError):
        return None


def _ranged_body(answer: httpx.Response, *, start: int, end: int) -> bytes:
    if _content_range(answer)[0] != start:
        raise OddAnswer("the server answered with another range than the one asked for")
    chunks: list[bytes] = []
    num_bytes = 0
    for chunk in answer.iter_raw():
        chunks.append(chunk)
        num_bytes += len(chunk)
        if num_bytes > end - start:
            break
    if not 0 < num_bytes <= end - start:
        raise OddAnswer(f"the server answered {num_bytes} bytes or more where {end - start} were asked for")
    return b"".join(chunks)


def _keep(chunk: bytes, file: BinaryIO, *, uri: str) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise StorageError(
            f"{uri}: no temporary copy in {tempfile.gettempdir()}: {error.strerror}; free space or set TMPDIR"
        ) from None


def _title(status: int) -> str:
    return f"HTTP {status} {http.client.responses.get(status, '')}".rstrip()


def _retry_after_s(answer: httpx.Response) -> float | None:
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _content_range(answer: httpx.Response) -> tuple[int | None, int | None]:
    """First offset and the object's size, where ``Content-Range`` gives them."""
    match = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return int(match[1]) if match[1] else None, None if match[2] == "*" else int(match[2])


def _identity(answer: httpx.Response) -> Identity:
    if answer.headers.get("Content-Encoding", "identity") not in ("", "identity"):
        size_bytes = None  # lengths and ranges are those of the compressed form
    elif answer.status_code in _WHOLE:
        length = answer.headers.get("Content-Length", "")
        size_bytes = int(length) if length.isdecimal() else None
    else:
        size_bytes = _content_range(answer)[1]
    try:
        modified = parsedate_to_datetime(answer.headers["Last-Modified"])
        mtime_ns = int(modified.timestamp()) * 10**9
    except (KeyError, ValueError):
        mtime_ns = None
    return Identity(size_bytes=size_bytes, etag=answer.headers.get("ETag"), mtime_ns=mtime_ns)
