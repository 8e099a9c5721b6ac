"""A lake with streams as it is at one moment: what the journal holds, and which files hold the rest.

The journal is read first. What is published after that is seen in both, and told apart by the footers.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.lake.appended_file import read_footer
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.closing import begun_by, told_by
from pipeline.lake.live.entries import Entry, EntryHeader
from pipeline.lake.live.journal import Journal
from pipeline.lake.live.names import Span, filled_session, published
from pipeline.lake.live.session_rows import SessionRow, read_sessions
from pipeline.records.tables import FEATURES


class LiveLake:
    """What a lake holds of one stream, or of all."""

    def __init__(self, dataset: Dataset, info: DatasetInfo, *, stream: str | None = None) -> None:
        self.info = info
        self.files: DatasetFiles = dataset.files
        self._dataset = dataset
        self._stream = stream

    @classmethod
    def at(cls, uri: str, *, stream: str | None = None) -> Self:
        """The lake at ``uri``; ``stream``: of this one alone.

        Raises:
            UsageError: there is none.
        """
        dataset = Dataset.at(uri)
        return cls(dataset, dataset.existing(), stream=stream)

    @cached_property
    def headers(self) -> list[EntryHeader]:
        """What the journal tells without its rows, by stream and number; some of it may be published."""
        return [header for journal in self._journals for header in journal.headers()]

    @cached_property
    def _journalled(self) -> list[Entry]:
        return [entry for journal in self._journals for entry in journal.entries()]

    @cached_property
    def _journals(self) -> list[Journal]:
        return Journal.all(self.files) if self._stream is None else [Journal(self.files, self._stream)]

    def unpublished(self, table: str) -> list[Entry]:
        """What the journal alone holds of a table."""
        entries = {entry.header.key: entry for entry in self._journalled}
        return [entries[header.key] for header in self._alone([each.header for each in entries.values()], table)]

    def unpublished_headers(self, table: str) -> list[EntryHeader]:
        """The same without the rows."""
        return self._alone(self.headers, table)

    def _alone(self, headers: Sequence[EntryHeader], table: str) -> list[EntryHeader]:
        with_rows = [header for header in headers if header.num_rows[table]]
        there = published(self.files, table, [header.key for header in with_rows])
        return [header for header in with_rows if not any(header.key in span for span in there)]

    @cached_property
    def sessions(self) -> dict[str, SessionRow]:
        """The sessions, by their ids: what ``videos`` tells, and the journal alone."""
        headers, new = self.headers, self.unpublished_headers(FEATURES)
        rows = {row.session.video_id: row for row in begun_by(headers)}
        rows |= {row.session.video_id: row for row in read_sessions(self.files) if self._is_mine(row)}
        for video_id, row in rows.items():
            num_samples = sum(header.num_rows[FEATURES] for header in new if header.session == row.session)
            rows[video_id] = told_by(row, headers, num_samples=num_samples)
        return rows

    def names(self, table: str, *, video_id: str | None = None) -> list[str]:
        """The files of a table that may hold rows of the stream, or of one session, in the order of time."""
        row = None if video_id is None else self.sessions.get(video_id)
        spans = [(Span.of_name(name), name) for name in self.files.tables(table)]
        kept = [(span, name) for span, name in spans if span is None or self._may_hold(span, row)]
        # Files of no single writer are those of a lake that was compacted: all in them is older.
        return [name for _, name in sorted(kept, key=lambda each: (each[0] is not None, each))]

    def feature_names(self, *, video_id: str | None = None) -> Iterator[str]:
        """The features files that hold rows of sessions, or of one."""
        wanted = pa.array(sorted(self.sessions if video_id is None else {video_id}), pa.string())
        others = []
        for name in self.names(FEATURES, video_id=video_id):
            filled = filled_session(name)
            if Span.of_name(name) is not None or (filled in (video_id or filled,) and filled is not None):
                yield name
            elif filled is None:
                others.append(name)
        for name, footer in self.files.read_each(others, read_footer):
            if pc.any(pc.is_in(footer.settled()["video_id"], wanted)).as_py():
                yield name

    def read(self, names: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of files, one after the other.

        Raises:
            ForeignFile: one is damaged.
            StorageError: the store failed.
        """
        for name in names:
            rows = self.files.read_ours(name, partial(_read, columns=columns))
            yield (
                rows
                if self._stream is None or "stream" not in rows.schema.names
                else rows.filter(pc.equal(rows["stream"], self._stream))
            )

    def _is_mine(self, row: SessionRow) -> bool:
        return self._stream in (None, row.session.stream)

    def _may_hold(self, span: Span, row: SessionRow | None) -> bool:
        if row is not None:
            return (span.stream, span.writer) == (row.session.stream, row.writer)
        return self._stream in (None, span.stream)


def _read(file: pa.NativeFile, *, columns: Sequence[str] | None) -> pa.Table:
    return pq.ParquetFile(file).read(columns)
