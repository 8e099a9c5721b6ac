"""What streams brought, journal and files as one: the way in for whoever reads a lake that is being written."""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from pipeline.lake.live.batches import StoredGap, StoredSession
from pipeline.records.events import Event, TrackPoint


def streams(uri: str) -> list[str]:
    """The names of the streams that ever wrote into a lake, sorted. All here raise ``UsageError``: no lake."""
    raise NotImplementedError


def sessions(uri: str, stream: str | None = None) -> list[StoredSession]:
    """The sessions of a stream, or of all, by their start."""
    raise NotImplementedError


def gaps(uri: str, stream: str | None = None) -> list[StoredGap]:
    """The gaps of a stream, or of all, by ``captured_from``; what was filled since a file was written says so."""
    raise NotImplementedError


def events(uri: str, stream: str | None = None, *, after_event_id: str | None = None) -> Iterator[Event]:
    """The events of a stream, or of all, by stream and ``event_id``; ``after_event_id``: only later ones."""
    raise NotImplementedError


def tracks(uri: str, stream: str | None = None, *, video_id: str | None = None) -> Iterator[TrackPoint]:
    """Where objects were, by session, pts and track; ``video_id``: of this session alone."""
    raise NotImplementedError


def rows(uri: str, *, video_id: str | None = None, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of sessions in the columns of ``features``, a file or batch at a time, each row once.

    Args:
        uri: of the lake.
        video_id: of this session alone.
        columns: only these.
    """
    raise NotImplementedError


def unpublished_rows(uri: str, *, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows that stand in the journal alone, in the columns of ``features``.

    Ask for these before the files are listed: a row that is published in between is then seen twice, and not missed.
    """
    raise NotImplementedError
