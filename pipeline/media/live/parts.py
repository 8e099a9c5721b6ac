"""A stream that comes as bytes in parts: each part is a file of its own that can be read once."""

import io
from typing import BinaryIO, cast

from pipeline.media.process.wire import Channel, HungUp

# What the connector sends, each with a body: a part begins (its demuxer, or nothing where the content tells; whether
# it comes when the camera sends it), more of it, all was sent.
PART, DATA, END = b"P", b"D", b"E"


class Part(io.RawIOBase):
    """One part: a file that cannot be sought in."""

    def __init__(self, channel: Channel, header: bytes) -> None:
        """A part whose header has just been read from the channel."""
        self._channel = channel
        self._rest = memoryview(b"")
        self.following: bytes | None = None
        """The message after the part's last bytes, once they were read; empty: the other side hung up."""
        kind, _, name = header.decode().partition(" ")
        self.is_live = kind == "live"
        self.demuxer = name or None

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Some bytes, as soon as there are any; none at the part's end."""
        if size < 0:
            size = 1 << 20
        if not self._rest and self.following is None:
            message = _received(self._channel)
            if message[:1] == DATA:
                self._rest = memoryview(message)[1:]
            else:
                self.following = message
        data = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return data

    def skip(self) -> bytes:
        """Pass over what is left, and return the message that follows."""
        self._rest = memoryview(b"")
        while self.following is None:
            self.read()
            self._rest = memoryview(b"")
        return self.following

    @property
    def file(self) -> BinaryIO:
        """It, for whom a file is a ``BinaryIO``."""
        return cast(BinaryIO, self)


def first_part(channel: Channel) -> Part | None:
    """The first part; ``None``: there is none."""
    return part_of(channel, _received(channel))


def part_of(channel: Channel, message: bytes) -> Part | None:
    """The part that a message begins, if it begins one."""
    return Part(channel, message[1:]) if message[:1] == PART else None


def _received(channel: Channel) -> bytes:
    try:
        return channel.receive() or b""
    except HungUp:
        return b""
