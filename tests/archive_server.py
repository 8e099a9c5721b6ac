"""A folder of videos behind http, whose objects are read by ranges."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any


class ArchiveHandler(BaseHTTPRequestHandler):
    """What a test makes of it is a subclass with its ``folder``, whose ``asked`` does what is odd and then answers."""

    folder: Path

    def do_GET(self) -> None:
        self.asked(self.folder / self.path.strip("/"))

    def asked(self, path: Path) -> None:
        """Bytes of a file are wanted."""
        self.answer(path)

    def wanted(self) -> tuple[int, int]:
        """The first and the last byte that is asked for."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        return int(first), int(last)

    def answer(self, path: Path) -> None:
        """What is wanted of a file."""
        first, last = self.wanted()
        data = path.read_bytes()
        body = data[first : last + 1]
        self.send_response(206)
        self.send_header("ETag", f'"{len(data)}-{path.name}"')
        self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
