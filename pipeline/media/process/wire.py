"""How a decoder process and its parent reach each other; what they say is in ``messages``.

Over ``control`` go requests and events; over ``source`` the child asks for the video's bytes, for it opens nothing
itself; pictures lie in a shared ``memfd`` (which, unlike named shared memory, cannot outlive both).
"""

import socket
import struct
import time

NUM_SLOTS = 2
"""Of pictures: the child fills one while the parent resizes what lies in the other."""

FULL_SLOT_BYTES = 4 << 20
"""A slot takes another picture up to here, or one that is larger: waking each other costs more than a small picture."""

EXIT_OUT_OF_MEMORY = 101

READY = b"ready"
"""The child's first message; behind it stands why the kernel does not check its system calls, if it does not."""

_LENGTH = struct.Struct("<I")
_READ_REQUEST = struct.Struct("<QI")
# The plan of ten hours, every frame a listed target, takes 20 MB.
_MAX_MESSAGE_BYTES = 64 << 20
_MAX_READ_BYTES = 8 << 20


class HungUp(Exception):
    """The other side has closed its end."""


class Nonsense(Exception):
    """The other side does not keep to the protocol."""


class Channel:
    """Whole messages over a socket; a sender that stalls within one keeps no receiver beyond its time-out."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._received = bytearray()

    def send(self, *messages: bytes, timeout_s: float | None = None) -> None:
        """Send messages, all in one go.

        Raises:
            HungUp: the other side is gone.
            TimeoutError: it did not take it in time.
        """
        self._socket.settimeout(timeout_s)
        try:
            self._socket.sendall(b"".join(_LENGTH.pack(len(message)) + message for message in messages))
        except (BrokenPipeError, ConnectionResetError):
            raise HungUp from None

    def receive(self, *, timeout_s: float | None = None) -> bytes | None:
        """The next message, or ``None`` where it is not complete in time.

        Raises:
            HungUp: the other side is gone.
            Nonsense: no message is that long.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            message = self._take()
            if message is not None:
                return message
            left_s = None if deadline is None else max(1e-3, deadline - time.monotonic())
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(1 << 18)
            except TimeoutError:
                return None
            except ConnectionResetError:
                raise HungUp from None
            if not data:
                raise HungUp
            self._received += data
            if deadline is not None and time.monotonic() > deadline:
                return self._take()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _take(self) -> bytes | None:
        if len(self._received) < _LENGTH.size:
            return None
        end = _LENGTH.size + int(_LENGTH.unpack_from(self._received)[0])
        if end > _MAX_MESSAGE_BYTES:
            raise Nonsense(f"a message of {end} bytes")
        if len(self._received) < end:
            return None
        message = bytes(memoryview(self._received)[_LENGTH.size : end])
        del self._received[:end]
        return message


def ask_for_bytes(source: Channel, *, offset: int, length: int) -> bytes | None:
    """The child asks its parent for bytes, of which fewer may come; ``None``: the store failed."""
    source.send(_READ_REQUEST.pack(offset, min(length, _MAX_READ_BYTES)))
    answer = source.receive() or b""
    return answer[1:] if answer[:1] == b"+" else None


def requested_bytes(source: Channel) -> tuple[int, int]:
    """The (offset, length) that the child asks its parent for next.

    Raises:
        HungUp: the child is gone.
        Nonsense: it sent something else.
    """
    message = source.receive() or b""
    if len(message) != _READ_REQUEST.size:
        raise Nonsense(f"a read request of {len(message)} bytes")
    offset, length = _READ_REQUEST.unpack(message)
    return int(offset), min(int(length), _MAX_READ_BYTES)


def answer_with_bytes(source: Channel, data: bytes | None) -> None:
    """The parent answers; ``None``: the store failed."""
    source.send(b"-" if data is None else b"+" + data)
