"""The sessions of streams in ``videos``: a file a stream and day, replaced whole whenever one of its rows changes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.appended import schema_of
from pipeline.lake.appended_file import LIVE_KEY, file_with, foreign_file
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.batches import SessionStatus, StoredSession
from pipeline.lake.live.names import is_of_streams, live_document, sessions_file
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.documents import Document, number_or_none, parts, text, whole
from pipeline.records.streams import Session
from pipeline.records.tables import VIDEOS

_STATUSES: tuple[SessionStatus, ...] = get_args(SessionStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A row of ``videos`` about a session, and what the row cannot hold of it."""

    session: Session
    writer: str
    """That wrote its rows."""
    status: SessionStatus
    captured_to: datetime
    end_s: float | None
    num_segments: int
    num_samples: int

    @classmethod
    def of(cls, session: Session, *, writer: str) -> Self:
        """Of a session that has just begun."""
        return cls(
            session=session,
            writer=writer,
            status="live",
            captured_to=session.started_at,
            end_s=None,
            num_segments=0,
            num_samples=0,
        )

    @property
    def stored(self) -> StoredSession:
        """What readers are told."""
        return StoredSession(
            session=self.session,
            status=self.status,
            captured_from=self.session.started_at,
            captured_to=self.captured_to,
            num_samples=self.num_samples,
        )

    def to_row(self) -> Document:
        """A row of ``VIDEOS``."""
        session = self.session
        return {
            **dict.fromkeys(VIDEOS.schema.names),
            **{name: getattr(session, name) for name in _OF_SESSION},
            "creation_time": session.started_at.astimezone(UTC).isoformat(),
            "is_current": True,
            "duration_s": self.end_s,
            "num_segments": self.num_segments,
            "num_samples": self.num_samples,
            "status": self.status,
            "captured_from": session.started_at,
            "captured_to": self.captured_to,
        }

    def to_json(self) -> Document:
        """What the footer says of it."""
        return {**self.session.to_json(), "writer": self.writer}

    @classmethod
    def of_row(cls, row: Document, document: Document) -> Self:
        """The inverse of ``to_row`` and ``to_json``. Raises as ``Session.from_json`` does."""
        captured_to = row["captured_to"]
        if not isinstance(captured_to, datetime):
            raise TypeError(f"captured_to is {captured_to!r}")
        status = text(row, "status")
        return cls(
            session=Session.from_json(document),
            writer=text(document, "writer"),
            status=next(each for each in _STATUSES if each == status) if status in _STATUSES else "partial",
            captured_to=captured_to,
            end_s=number_or_none(row, "duration_s"),
            num_segments=whole(row, "num_segments"),
            num_samples=whole(row, "num_samples"),
        )


_OF_SESSION = ("video_id", "uri", "stream", "start_pts", "container", "codec", "width", "height", "rotation", "pix_fmt")

Rows = Mapping[str, SessionRow]
"""By their ids."""


def read_sessions(files: DatasetFiles) -> list[SessionRow]:
    """All sessions that ``videos`` tells of.

    Raises:
        ForeignFile: a file is damaged.
        StorageError: the store failed.
    """
    names = [name for name in files.tables(VIDEOS.name) if is_of_streams(name)]
    return [row for _, rows in files.read_each(names, _read) for row in rows.values()]


def change_session(
    files: DatasetFiles, begun: SessionRow, change: Callable[[SessionRow], SessionRow], *, token: str
) -> SessionRow:
    """Replace the row of a session, or write it where there is none.

    Args:
        files: of the lake.
        begun: the row to be changed where the table has none.
        change: makes the new row of the old one.
        token: of the lease under which it is written.

    Returns:
        The new row.

    Raises:
        LeaseLost: another program has taken over.
        StorageError: the store failed.
    """
    session = begun.session
    name = sessions_file(session.stream, f"{session.started_at.astimezone(UTC):%Y%m%d}")
    while True:
        version = files.store.version(name)
        rows = rows_of_sessions(files, name)
        row = change(rows.get(session.video_id, begun))
        if rows.get(session.video_id) == row:
            return row
        data = file_of_sessions({**rows, session.video_id: row}, further=further_columns(files))
        if files.fence(token).replace(name, data, version=version):
            return row


def further_columns(files: DatasetFiles) -> list[pa.Field]:
    """The columns that manifests gave to ``videos``: all its files have the same ones, for readers without our code."""
    names = [name for name in files.tables(VIDEOS.name) if not is_of_streams(name)]
    schema = schema_of(files, names[0]) if names else VIDEOS.schema
    return [field for field in schema if field.name not in VIDEOS.schema.names]


def file_of_sessions(rows: Rows, *, further: Sequence[pa.Field]) -> bytes:
    """The bytes of a file, with ``further`` columns that are null."""
    schema = pa.schema([*VIDEOS.schema, *further])
    table = pa.Table.from_pylist([row.to_row() for row in rows.values()], schema=schema)
    return bytes(file_with(table, {LIVE_KEY: {"sessions": [row.to_json() for row in rows.values()]}}))


def rows_of_sessions(files: DatasetFiles, name: str) -> Rows:
    """The rows of a file; none where there is none. Raises as ``read_sessions``."""
    try:
        return files.read(name, lambda file: _read(file, uri=files.uri(name)))
    except MissingFile:
        return {}


def _read(file: pa.NativeFile, *, uri: str) -> Rows:
    try:
        parquet = pq.ParquetFile(file)
        document = live_document(parquet.metadata, uri=uri)
        values = zip(parquet.read(VIDEOS.schema.names).to_pylist(), parts(document or {}, "sessions"), strict=True)
        rows = [SessionRow.of_row(row, further) for row, further in values]
        return {row.session.video_id: row for row in rows}
    except (pa.ArrowException, KeyError, TypeError, ValueError, ZeroDivisionError):
        raise foreign_file(uri, "it is damaged") from None
