"""A request's body: how long it may be, and the file that it holds, whatever way it was sent."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Receive

from serve.problems import BadInput, BodyTooLarge, Problem, UnsupportedType

STILL_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp")
UNTYPED = "application/octet-stream"
"""What clients say of a file whose type they do not know, if they say anything."""
_OTHER_NAMES = ("image/jpg", "image/pjpeg", "image/x-png", "image/x-ms-bmp", "image/x-bmp")
_GIF = "image/gif"  # a video
_MULTIPART = "multipart/form-data"
_IN_MEMORY_BYTES = 1 << 20
_HEAD_BYTES = 16

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}
OPENAPI_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": "A picture, a video, or a form with one of them as `file`. Its content tells what it is.",
        "content": {**dict.fromkeys((*STILL_TYPES, "video/*", UNTYPED), _BINARY), _MULTIPART: _FORM},
    }
}
"""The description of such bodies in ``/openapi.json``: FastAPI does not see that a route reads a stream."""


class BodyLimit:
    """The longest body that is read, and the longest message of a WebSocket."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def check(self, num_bytes: int) -> None:
        """Hold a length against the limit.

        Raises:
            BodyTooLarge: it is longer.
        """
        if num_bytes > self._max_bytes:
            raise BodyTooLarge(f"a body may have {self._max_bytes} bytes")

    def check_declared(self, headers: Headers) -> None:
        """Hold the length that a request declares against the limit, before any of its body is read.

        Raises:
            Problem: it declares no number.
            BodyTooLarge: it is longer.
        """
        declared = headers.get("content-length")
        if declared is None:
            return
        if not (declared.isascii() and declared.isdecimal()):
            raise Problem("Content-Length is not a number")
        digits = declared.lstrip("0")
        self.check(int(digits[:19] or 0))  # more digits than that are too long in any case, and slow to read

    def bounded(self, receive: Receive) -> Receive:
        """The same messages, until the body grows past the limit: then ``BodyTooLarge`` is raised."""
        num_bytes = 0

        async def receive_bounded() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            self.check(num_bytes)
            return message

        return receive_bounded


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A picture or a video, in memory or, if it is large, in a file without a name."""

    file: IO[bytes]
    size_bytes: int
    head: bytes
    """Its first 16 bytes, by which its format is known."""

    async def read(self) -> bytes:
        """Read all of it; in a thread if it is on disk."""
        self.file.seek(0)
        is_in_memory = self.size_bytes <= _IN_MEMORY_BYTES
        return self.file.read() if is_in_memory else await asyncio.to_thread(self.file.read)


@asynccontextmanager
async def posted(request: Request) -> AsyncIterator[Posted]:
    """The picture or video that a request brings.

    Raises:
        UnsupportedType: its type is known, and neither a picture's nor a video's nor a form's.
        BadInput: it is empty.
        Problem: a form without a ``file``.
    """
    kind = content_type(request)
    if kind == _MULTIPART:
        async with _form_file(request) as file:
            yield _posted(file)
    elif may_be_still(kind) or kind == _GIF or kind.startswith("video/"):
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as spooled:
            async for chunk in request.stream():
                spooled.write(chunk)
            yield _posted(spooled)
    else:
        raise UnsupportedType(f"send {', '.join(STILL_TYPES)}, video/* or {_MULTIPART}, not {kind}")


def may_be_still(kind: str) -> bool:
    """Whether a body of this type may be a picture. Its content tells whether it is one."""
    return kind in (*STILL_TYPES, *_OTHER_NAMES, UNTYPED, "")


def content_type(request: Request) -> str:
    """The type that the header names, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def _form_file(request: Request) -> AsyncIterator[IO[bytes]]:
    try:
        async with request.form(max_files=1, max_fields=16) as form:
            part = form.get("file")
            if not isinstance(part, UploadFile):
                raise Problem("the form has no file named 'file'")
            yield part.file
    except HTTPException as error:  # Starlette raises this over a form that does not parse
        raise Problem(str(error.detail)) from None


def _posted(file: IO[bytes]) -> Posted:
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    size_bytes = file.seek(0, 2)
    if not size_bytes:
        raise BadInput("unreadable", "the body is empty")
    return Posted(file=file, size_bytes=size_bytes, head=head)
