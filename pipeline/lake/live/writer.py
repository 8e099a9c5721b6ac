"""The one writer of a stream: journals what comes in, and publishes it as files of the lake."""

from datetime import datetime
from typing import Self

from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live.batches import LiveBatch
from pipeline.records.streams import Session


class LiveWriter:
    """Commits what a stream brings into a lake, in a folder or bucket; holds the lease ``stream:NAME`` until closed.

    Between sessions, and before the first one, a batch may hold gaps and events without a video.

    All methods raise ``LeaseLost`` where another program has taken the stream over, and ``StorageError`` where the
    store failed; then nothing is lost, and the same call may be made again. Not for several threads at once.
    """

    def __init__(self, uri: str, *, info: DatasetInfo, stream: str, uri_of_source: str, publish_s: float) -> None:
        """Take the lease, make the lake if need be, and close what a killed writer of this stream left.

        What that one journalled is published, its session ends, and the gap from there to the first ``begin`` is
        written as ``disconnected`` when ``begin`` is called.

        Args:
            uri: of the lake.
            info: its configuration; the sampling rule is ``fps:R``.
            stream: its name.
            uri_of_source: its address, without user info and query.
            publish_s: how long a batch may stand in the journal alone.

        Raises:
            UsageError: the lake was made with other settings, or by a version whose features have no ``captured_at``,
                or another program writes this stream, or the place takes no files.
            StorageError: the store failed.
        """
        raise NotImplementedError

    @classmethod
    def check(cls, uri: str, *, info: DatasetInfo, streams: list[str]) -> None:
        """Refuse early, before anything is started for nothing. Writes nothing.

        Raises:
            UsageError: as far as that can be told, what a ``LiveWriter`` of one of these streams would refuse.
        """
        raise NotImplementedError

    def begin(self, session: Session) -> None:
        """A session begins: from now on it is ``live`` in ``videos``, and batches are of it."""
        raise NotImplementedError

    def commit(self, batch: LiveBatch) -> None:
        """Journal a batch, whole and durable when this returns; an empty one is nothing."""
        raise NotImplementedError

    def end(self, *, ended_at: datetime) -> None:
        """The session is over, and published.

        Args:
            ended_at: the end of its last slot.
        """
        raise NotImplementedError

    def publish_due(self) -> None:
        """Publish what the journal holds, if its oldest batch is older than ``publish_s``."""
        raise NotImplementedError

    def close(self) -> None:
        """Publish what the journal holds and give the lease back. A session that did not end stays to be closed."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
