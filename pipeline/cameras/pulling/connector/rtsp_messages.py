"""Taking RTSP messages and interleaved packets out of a stream of bytes (RFC 2326)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_MOST_HEADER_BYTES = 1 << 16
_MOST_BODY_BYTES = 1 << 20


class NotRtsp(Exception):
    """The other side does not speak RTSP."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of RTP or RTCP, with the four bytes that announce it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer."""

    first_line: str
    headers: Sequence[tuple[str, str]]
    body: bytes

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first_line.split(" ", 1)[0]

    @property
    def is_answer(self) -> bool:
        """Whether it answers a request."""
        return self.first_line.startswith("RTSP/")

    @property
    def status(self) -> int:
        """Of an answer; 0 where it has none."""
        match = re.match(r"RTSP/\d\.\d (\d{3})\b", self.first_line)
        return int(match[1]) if match else 0

    def all_of(self, name: str) -> list[str]:
        """The values of a header."""
        return [value for each, value in self.headers if each.lower() == name]

    @property
    def sequence(self) -> str:
        """By which an answer names its request."""
        return (self.all_of("cseq") or [""])[0]

    def written(self) -> bytes:
        """As bytes; the length of the body is stated anew."""
        headers = [(name, value) for name, value in self.headers if name.lower() != "content-length"]
        if self.body:
            headers.append(("Content-Length", str(len(self.body))))
        lines = [self.first_line, *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


class Splitter:
    """Cuts what one side sends into messages and packets."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> Iterator[Message | Packet]:
        """What is complete now.

        Raises:
            NotRtsp: it is neither.
        """
        self._received += data
        while (each := self._taken()) is not None:
            yield each

    def _taken(self) -> Message | Packet | None:
        received = self._received
        while bytes(received[:1]) in (b"\r", b"\n"):  # between messages
            del received[:1]
        if received[:1] == b"$":
            end = 4 + int.from_bytes(received[2:4], "big")
            if len(received) < max(4, end):
                return None
            packet = Packet(bytes(received[:end]))
            del received[:end]
            return packet
        return self._message() if received else None

    def _message(self) -> Message | None:
        received = self._received
        if not received[:1].isalpha():
            raise NotRtsp("what it sends is not RTSP")
        head_end = received.find(b"\r\n\r\n")
        if head_end < 0:
            if len(received) > _MOST_HEADER_BYTES:
                raise NotRtsp("a header without an end")
            return None
        first_line, *lines = received[:head_end].decode("latin-1").split("\r\n")
        if "RTSP/" not in first_line:
            raise NotRtsp("what it sends is not RTSP")
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        lengths = [value for name, value in headers if name.lower() == "content-length"]
        length = int(lengths[0]) if lengths and lengths[0].isdecimal() else 0
        if length > _MOST_BODY_BYTES:
            raise NotRtsp(f"a body of {length} bytes")
        end = head_end + 4 + length
        if len(received) < end:
            return None
        message = Message(first_line, headers, bytes(received[head_end + 4 : end]))
        del received[:end]
        return message
