"""All streams of one host: started, stopped, looked at and listened to by their names."""

from collections.abc import AsyncIterator
from typing import Protocol

from pipeline.cameras.settings import StreamSettings
from pipeline.cameras.status import StreamStatus
from pipeline.errors import UsageError
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamSpec


class StreamTaken(UsageError):
    """A stream of this name runs already, here or in another process that writes to the same lake."""


class NoSuchStream(UsageError):
    """No stream of this name runs here."""


class NoPicture(UsageError):
    """The stream has not had a picture yet."""


class SourceOfStream(Protocol):
    """What ``pulling.Source`` is: a checked address with its credentials, which are shown nowhere."""

    @property
    def uri(self) -> str:
        """The address without user info and query."""
        ...


class Streams:
    """The streams of one process, each an actor of Ray that can harm no other.

    All methods belong to one event loop, on a process that is connected to Ray. ``watch`` holds it in the driver,
    ``serve`` in a deployment of one replica.
    """

    def __init__(self, settings: StreamSettings) -> None:
        """Nothing runs yet."""
        self._settings = settings

    async def start(self, spec: StreamSpec, source: SourceOfStream) -> None:
        """Start a stream; returns once it holds its lease and tries to connect, whether or not the camera is there.

        Raises:
            StreamTaken: the name is taken, here or by another writer to the lake.
            UsageError: the lake has another configuration, or the spec asks for what is not there (a head, an extra).
            StorageError: the lake cannot be written.
        """
        raise NotImplementedError

    async def stop(self, name: str) -> StreamStatus:
        """End a stream, in any state within 2 s; returns when what is buffered is committed, and the name is free.

        Raises:
            NoSuchStream: there is none.
        """
        raise NotImplementedError

    def list(self) -> list[StreamStatus]:
        """All streams by name, as of less than a second ago; a ``file:`` source that has ended is ``stopped``."""
        raise NotImplementedError

    def status(self, name: str) -> StreamStatus:
        """One stream.

        Raises:
            NoSuchStream: there is none.
        """
        raise NotImplementedError

    async def picture(self, name: str, *, boxes: bool = False) -> bytes:
        """The newest picture of a stream as a JPEG, with the boxes of its tracks where asked for.

        Raises:
            NoSuchStream: there is none.
            NoPicture: nothing has come in yet.
        """
        raise NotImplementedError

    def events(
        self, *, stream: str | None = None, type: EventType | None = None, after: str | None = None
    ) -> AsyncIterator[Event]:
        """What happens from now on, in the order in which it is learned of; it never ends by itself.

        Args:
            stream: of this one alone, which need not run yet.
            type: of this type alone.
            after: an ``event_id``: what came later is told first, from memory or the lake, each once.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Stop all streams, at the same time."""
        raise NotImplementedError
