"""A proxy that spoils the way to an object store, one request or all of them."""

import contextlib
import http.client
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

from stores import ObjectStore

Fault = Literal[
    "400", "405", "406", "408", "410", "418", "429", "500", "503", "expired", "reset", "truncate", "lose the answer"
]
"""A number: of the answer; ``expired``: so it says of our token; ``truncate``: half of the body, and the connection
ends; ``lose the answer``: the store has done it by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A request that went through the proxy, and how many bytes of body came back."""

    method: str
    path: str
    num_bytes: int


class FaultyProxy(ThreadingHTTPServer):
    """Stands before a store. ``faults`` are spent one a request, oldest first; ``outage`` strikes every one.

    Only requests of one of ``methods`` are struck.
    """

    daemon_threads = True

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.upstream = urlsplit(store.url).netloc
        self.faults: deque[Fault] = deque()
        self.outage: Fault | None = None
        self.methods: tuple[str, ...] = ("GET", "HEAD", "PUT", "POST", "DELETE")
        self.passed: list[Passed] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def num_bytes(self) -> int:
        """Bytes of bodies that came back."""
        return sum(each.num_bytes for each in self.passed)

    def next_fault(self, method: str) -> Fault | None:
        if method not in self.methods:
            return None
        return self.outage or (self.faults.popleft() if self.faults else None)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up when they have what they want."""


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.next_fault(self.command)
        if fault is not None and fault.isdecimal():
            code = "ServerBusy" if int(fault) >= 500 else "Oddity"
            self._answer(int(fault), [], f"<Error><Code>{code}</Code></Error>".encode())
            return
        if fault == "expired":
            self._answer(http.client.FORBIDDEN, [], b"<Error><Code>ExpiredToken</Code></Error>")
            return
        if fault == "reset":
            self._hang_up()
            return
        status, headers, data = self._ask_upstream(body)
        if fault == "lose the answer" or (fault == "truncate" and not data):
            self._hang_up()
        elif fault == "truncate":
            self._answer(status, headers, data, num_sent=len(data) // 2)
            self._hang_up()
        else:
            self._answer(status, headers, data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 (the names are the library's)

    def _ask_upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            headers = {name: text for name, text in self.headers.items() if name.lower() != "host"}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, num_sent: int | None = None) -> None:
        self.send_response_only(status)
        length = next((text for name, text in headers if name.lower() == "content-length"), str(len(data)))
        for name, text in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "keep-alive"):
                self.send_header(name, text)
        if status != http.client.NO_CONTENT:
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        sent = b"" if self.command == "HEAD" else data[:num_sent]
        self.server.passed.append(Passed(method=self.command, path=self.path, num_bytes=len(sent)))
        self.wfile.write(sent)
        self.wfile.flush()

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy_before(store: ObjectStore) -> Iterator[FaultyProxy]:
    """A proxy that passes everything on until it is told otherwise."""
    with FaultyProxy(store) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
