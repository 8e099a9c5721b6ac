"""What files of streams are called, and which entries of the journal each of them holds.

``live-STREAM-WRITER-FIRST-LAST.parquet``: the entries FIRST to LAST of one writer. The name tells where to look; what
counts is the file's footer: whatever it lists is published.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.lake.appended_file import LIVE_KEY, file_metadata, foreign_file
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.entries import EntryKey
from pipeline.records.documents import Document, document_of, text, whole

_PREFIX = "live-"
_WRITER = r"(?P<writer>\d{20}[0-9a-f]{8})"
"""When a writer began, and what tells it from others that began then."""
_BEGAN = "%Y%m%d%H%M%S%f"
_OF_LEASE = 8
"""So many characters behind that are the lease's."""
_MARK = r"(?:-[0-9a-f]{8})?"
"""What a bucket adds."""
_NAME = re.compile(rf"live-(?P<stream>.+)-{_WRITER}-(?P<first>\d+)-(?P<last>\d+){_MARK}\.parquet", re.ASCII)
_FILL = re.compile(rf"fill-(?P<video_id>[^-]+)-[0-9a-f]+{_MARK}\.parquet", re.ASCII)
_ENTRY = re.compile(rf"{_WRITER}-(?P<number>\d+){_MARK}\.arrow", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """Consecutive entries of one writer: the name of a file, or what its footer lists."""

    stream: str
    writer: str
    first: int
    last: int

    @classmethod
    def of(cls, keys: Sequence[EntryKey]) -> Self:
        """Of entries that follow each other."""
        first, last = keys[0], keys[-1]
        return cls(stream=first.stream, writer=first.writer, first=first.number, last=last.number)

    @classmethod
    def of_name(cls, name: str) -> Self | None:
        """What a file's name promises; ``None``: it is no file of published entries."""
        match = _NAME.fullmatch(name.rpartition("/")[2])
        if match is None:
            return None
        return cls(stream=match["stream"], writer=match["writer"], first=int(match["first"]), last=int(match["last"]))

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``. Raises ``KeyError`` or ``TypeError``: it is no such document."""
        return cls(
            stream=text(document, "stream"),
            writer=text(document, "writer"),
            first=whole(document, "first"),
            last=whole(document, "last"),
        )

    def to_json(self) -> Document:
        """Plain values, for a footer."""
        return {"stream": self.stream, "writer": self.writer, "first": self.first, "last": self.last}

    def file(self, table: str) -> str:
        """The name of the file of a table."""
        return f"{table}/{_PREFIX}{self.stream}-{self.writer}-{self.first:08d}-{self.last:08d}.parquet"

    def __contains__(self, key: EntryKey) -> bool:
        is_of_writer = (self.stream, self.writer) == (key.stream, key.writer)
        return is_of_writer and self.first <= key.number <= self.last


def new_writer(at: datetime, *, token: str) -> str:
    """What a writer is called that begins with this lease; the names of one stream's writers sort by time."""
    return f"{at.astimezone(UTC):{_BEGAN}}{token[-_OF_LEASE:]}"


def writer_in(note: bytes) -> str:
    """The writer that a note names, or an empty name."""
    found = re.search(_WRITER, note.decode(errors="replace"), re.ASCII)
    return "" if found is None else found["writer"]


def began_at(writer: str) -> datetime:
    """When a writer of this name began. Raises ``ValueError``: it is no such name."""
    return datetime.strptime(writer[:-_OF_LEASE], _BEGAN).replace(tzinfo=UTC)


def fill_file(video_id: str, digest: str) -> str:
    """A features file that holds filled slots of a session."""
    return f"features/fill-{video_id}-{digest}.parquet"


def filled_session(name: str) -> str | None:
    """The session that a features file holds filled slots of, by its name; ``None``: it holds others."""
    match = _FILL.fullmatch(name.rpartition("/")[2])
    return None if match is None else match["video_id"]


def is_of_streams(name: str) -> bool:
    """Whether a file of a table belongs to streams, by its name: whoever derives tables leaves it alone."""
    return name.rpartition("/")[2].startswith(_PREFIX)


def sessions_file(stream: str, day: str) -> str:
    """The file with the rows of ``videos`` of the sessions of a stream that began on a day."""
    return f"videos/{_PREFIX}{stream}-{day}.parquet"


def entry_name(key: EntryKey) -> str:
    """Of an entry, in its stream's folder of the journal."""
    return f"{key.writer}-{key.number:08d}.arrow"


def entry_key(stream: str, name: str) -> EntryKey | None:
    """The entry of a file of the journal; ``None``: it holds none."""
    match = _ENTRY.fullmatch(name.rpartition("/")[2])
    if match is None:
        return None
    return EntryKey(stream=stream, writer=match["writer"], number=int(match["number"]))


def live_document(metadata: pq.FileMetaData, *, uri: str) -> Document | None:
    """What a file of streams says of itself in its footer; ``None``: nothing, for it is another's, or stands in.

    Raises:
        ForeignFile: it is damaged.
    """
    value = (metadata.metadata or {}).get(LIVE_KEY)
    return None if value is None else parsed_live(value, uri=uri)


def parsed_live(value: bytes, *, uri: str) -> Document:
    """The same of its bytes. Raises as ``live_document``."""
    try:
        return document_of(json.loads(value), name="the footer")
    except (ValueError, TypeError, RecursionError):
        raise foreign_file(uri, "its footer is damaged") from None


def published(files: DatasetFiles, table: str, wanted: Iterable[EntryKey]) -> list[Span]:
    """Which entries of some writers the files of a table hold, by their footers.

    Raises:
        ForeignFile: one is damaged.
        StorageError: the store failed.
    """
    writers = {(key.stream, key.writer) for key in wanted}
    if not writers:
        return []
    names = [name for name in files.tables(table) if _is_of(name, writers)]
    return [span for _, span in files.read_each(names, _read_span) if span is not None]


def _is_of(name: str, writers: set[tuple[str, str]]) -> bool:
    span = Span.of_name(name)
    return span is not None and (span.stream, span.writer) in writers


def _read_span(file: pa.NativeFile, *, uri: str) -> Span | None:
    document = live_document(file_metadata(file, uri=uri), uri=uri)
    try:
        return None if document is None else Span.from_json(document)
    except (KeyError, TypeError):
        raise foreign_file(uri, "its footer is damaged") from None


def runs_of(keys: Iterable[EntryKey]) -> Iterator[list[EntryKey]]:
    """Entries, sorted by writer and number, in runs that follow each other."""
    run: list[EntryKey] = []
    for key in keys:
        if run and (key.writer, key.number) != (run[-1].writer, run[-1].number + 1):
            yield run
            run = []
        run.append(key)
    if run:
        yield run
