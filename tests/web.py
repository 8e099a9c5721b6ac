"""A web server on the loopback address that answers as a test wants it to."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = os.urandom(5_000_000)


class ObjectServer(ThreadingHTTPServer):
    """One object on the loopback address, served as the test says; ``odd_answer`` tells whether it has answered."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ObjectHandler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.has_ranges = True
        self.has_length = True
        self.status = 200
        self.failures = 0
        self.refusal: dict[str, str] = {}
        self.last_modified: str | None = None
        self.odd_answer: Callable[[ObjectHandler, str | None], bool] | None = None
        self.num_broken_bodies = 0
        self.ranges: list[str | None] = []
        self.headers_seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/clips/one.mp4"


class ObjectHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        self.server.headers_seen.append(dict(self.headers) | {"path": self.path})
        if self.server.failures > 0:
            self.server.failures -= 1
            return self.refuse(503, self.server.refusal)
        if self.server.status != 200:
            return self.refuse(self.server.status, self.server.refusal)
        if self.server.odd_answer is None or not self.server.odd_answer(self, wanted):
            self.answer(wanted)

    def answer(self, wanted: str | None) -> None:
        """As a well-behaved server does."""
        body = self.server.content
        if wanted and self.server.has_ranges:
            start, end = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            total = len(body)
            if start >= total:
                return self.refuse(416, {"Content-Range": f"bytes */{total}"})
            body = body[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{total}")
        else:
            self.send_response(200)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        if self.server.last_modified:
            self.send_header("Last-Modified", self.server.last_modified)
        if self.server.has_length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.server.num_broken_bodies > 0:
            self.server.num_broken_bodies -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    with ObjectServer() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()
