"""An entry of the journal: all that a stream committed at once, in one file.

The file begins with a mark, the length of a JSON document, and that document; the rows of each table follow, as Arrow
streams. So whoever only counts reads a few hundred bytes.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import pyarrow as pa

from pipeline.lake.files import ForeignFile
from pipeline.records.documents import Document, document_of, number, number_or_none, part, text, text_or_none, whole
from pipeline.records.stream_rows import STREAM_TABLES
from pipeline.records.streams import Session
from pipeline.records.tables import FEATURES

_MARK = b"vidlake-live-1\n\0"
_HEAD = struct.Struct(f"<{len(_MARK)}sQ")
TABLES = (FEATURES, *(table.name for table in STREAM_TABLES))
"""Of which an entry holds rows, in their order in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryKey:
    """What tells an entry from all others: the ``number``-th, from 1 on, of one writer of a stream."""

    stream: str
    writer: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryHeader:
    """What an entry says before its rows."""

    key: EntryKey
    written_s: float
    """When it was committed, in seconds since the Unix epoch."""
    session: Session | None
    """That its rows are of; ``None``: it is from between two sessions."""
    captured_to: datetime | None
    """The end of the last slot that it tells of; ``None``: of none."""
    end_s: float | None
    """The same on the axis of ``time_s``."""
    num_rows: Mapping[str, int]
    """Of each of ``TABLES``."""
    missing_slots: Mapping[str, int]
    """In its gaps, by their reasons."""

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        return {
            "stream": self.key.stream,
            "writer": self.key.writer,
            "number": self.key.number,
            "written_s": self.written_s,
            "session": None if self.session is None else self.session.to_json(),
            "captured_to": None if self.captured_to is None else self.captured_to.isoformat(),
            "end_s": self.end_s,
            "num_rows": dict(self.num_rows),
            "missing_slots": dict(self.missing_slots),
        }

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``. Raises as ``Session.from_json`` does."""
        captured_to = text_or_none(document, "captured_to")
        num_rows, missing_slots = part(document, "num_rows"), part(document, "missing_slots")
        return cls(
            key=EntryKey(
                stream=text(document, "stream"), writer=text(document, "writer"), number=whole(document, "number")
            ),
            written_s=number(document, "written_s"),
            session=None if document["session"] is None else Session.from_json(part(document, "session")),
            captured_to=None if captured_to is None else datetime.fromisoformat(captured_to),
            end_s=number_or_none(document, "end_s"),
            num_rows={name: whole(num_rows, name) for name in TABLES},
            missing_slots={reason: whole(missing_slots, reason) for reason in missing_slots},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry with its rows."""

    header: EntryHeader
    rows: Mapping[str, pa.Table]
    """Of each of ``TABLES``."""

    def is_same(self, other: "Entry") -> bool:
        """Whether both say the same, whenever they were written."""
        mine, theirs = (replace(each.header, written_s=0.0) for each in (self, other))
        return mine == theirs and all(self.rows[name].equals(other.rows[name]) for name in TABLES)

    def to_bytes(self) -> bytes:
        """The file."""
        document = json.dumps(self.header.to_json()).encode()
        sink = pa.BufferOutputStream()
        sink.write(_HEAD.pack(_MARK, len(document)))
        sink.write(document)
        for name in TABLES:
            with pa.ipc.new_stream(sink, self.rows[name].schema) as writer:
                writer.write_table(self.rows[name])
        return bytes(sink.getvalue())


def read_header(file: pa.NativeFile, *, uri: str) -> EntryHeader | None:
    """What an entry says before its rows; ``None``: the file stands in for one that must not be written any more.

    Raises:
        ForeignFile: it is damaged.
        OSError: the store failed.
    """
    head = file.read(_HEAD.size)
    if not head:
        return None
    try:
        mark, length = _HEAD.unpack(head)
        if mark != _MARK:
            raise ValueError("another mark")
        return EntryHeader.from_json(document_of(json.loads(file.read(length)), name="header"))
    except (struct.error, ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise ForeignFile(f"{uri} is damaged ({error}): remove it and run the command again") from None


def read_entry(file: pa.NativeFile, *, uri: str) -> Entry | None:
    """An entry with its rows; otherwise as ``read_header``."""
    header = read_header(file, uri=uri)
    if header is None:
        return None
    try:
        return Entry(header=header, rows=dict(_tables(pa.BufferReader(file.read()))))
    except (pa.ArrowException, KeyError) as error:
        raise ForeignFile(f"{uri} is damaged ({error}): remove it and run the command again") from None


def _tables(rest: pa.BufferReader) -> Iterator[tuple[str, pa.Table]]:
    for name in TABLES:
        yield name, pa.ipc.open_stream(rest).read_all()
