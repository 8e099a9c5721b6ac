"""How sessions end: what the journal still holds is published, and ``videos`` says whether something is missing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.lake.appended_file import read_footer
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.entries import EntryHeader
from pipeline.lake.live.journal import Journal
from pipeline.lake.live.names import Span, began_at, filled_session
from pipeline.lake.live.publication import publish_entries
from pipeline.lake.live.session_rows import SessionRow, change_session, read_sessions
from pipeline.lake.publishing.slots import StreamSlot
from pipeline.records.stream_rows import GAPS
from pipeline.records.streams import GapReason
from pipeline.records.tables import FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class PastOfStream:
    """What writers that are gone have left of a stream."""

    video_id: str | None
    """Its last session; ``None``: it had none."""
    told_until: datetime | None
    """Where what a kill has lost begins: up to here each slot since the stream was started is a row or stands in a gap.

    ``None``: nothing is lost, for the last writer ended in order, or there was none.
    """


def close_stream(dataset: Dataset, info: DatasetInfo, stream: str, *, token: str) -> PastOfStream:
    """Publish what a writer that is gone has journalled of a stream, and end its sessions.

    Raises:
        LeaseLost: another program writes the stream.
        ForeignFile: a file of the stream is damaged.
        StorageError: the store failed.
    """
    files, journal = dataset.files, Journal(dataset.files, stream)
    entries = list(journal.entries())
    for _, group in groupby(entries, key=lambda entry: entry.header.key.writer):
        publish_entries(files, info, list(group), is_repeated=True, token=token)
    headers = [entry.header for entry in entries]
    for begun in begun_by(headers):
        change_session(files, begun, lambda row: told_by(row, headers), token=token)
    rows = [row for row in read_sessions(files) if row.session.stream == stream]
    rows = [end_session(files, row, token=token) if row.status == "live" else row for row in rows]
    journal.remove({header.key for header in headers}, token=token)
    last = max(rows, key=lambda row: row.session.started_at, default=None)
    return PastOfStream(
        video_id=None if last is None else last.session.video_id,
        told_until=None if (by := journal.opened_by) is None else _told_until(files, stream, last, opened_by=by),
    )


def _told_until(files: DatasetFiles, stream: str, last: SessionRow | None, *, opened_by: str) -> datetime | None:
    """How far writers have told of a stream whose ``last`` session is this, since one began that was killed."""
    if last is not None and last.writer >= opened_by:
        since, ends = last.writer, [last.captured_to]
    else:  # between a session that ended in order and that writer's start nobody asked for anything
        since, ends = opened_by, [began_at(opened_by)] if opened_by else []
    return max([*ends, *_ends_between_sessions(files, stream, since=since)], default=None)


def _ends_between_sessions(files: DatasetFiles, stream: str, *, since: str) -> Iterator[datetime]:
    """Up to when gaps without a session tell what is missing, of all writers since this one."""
    for name in files.tables(GAPS.name):
        span = Span.of_name(name)
        if span is not None and span.stream == stream and span.writer >= since:
            gaps = files.read_ours(name, _gaps)
            yield from gaps.filter(pc.is_null(gaps["start_s"]))["captured_to"].to_pylist()


def close_abandoned(dataset: Dataset, info: DatasetInfo) -> None:
    """The same of all streams whose writers are gone, as far as nobody else is at it. Raises as ``close_stream``."""
    journals = Journal.all(dataset.files)
    live = {row.session.stream for row in read_sessions(dataset.files) if row.status == "live"} if journals else set()
    for journal in journals:
        if journal.stream not in live and not journal.listed():
            continue
        try:
            held = dataset.backend.acquire(slot=StreamSlot(stream=journal.stream))
        except UsageError:  # its writer lives
            continue
        try:
            close_stream(dataset, info, journal.stream, token=held.token)
        finally:
            held.release()


def begun_by(headers: Sequence[EntryHeader]) -> Iterator[SessionRow]:
    """The sessions that entries are of, as rows that nothing is added to."""
    sessions = {header.session.video_id: header for header in headers if header.session is not None}
    for header in sessions.values():
        if header.session is not None:
            yield SessionRow.of(header.session, writer=header.key.writer)


def told_by(row: SessionRow, headers: Sequence[EntryHeader], *, num_samples: int = 0) -> SessionRow:
    """The row of a session that reaches as far as the entries among these that are of it, and counts so many more."""
    own = [header for header in headers if header.session == row.session]
    ends = [header.captured_to for header in own if header.captured_to is not None]
    ends_s = [end_s for end_s in (row.end_s, *(header.end_s for header in own)) if end_s is not None]
    return replace(
        row,
        captured_to=max([row.captured_to, *ends]),
        end_s=max(ends_s, default=None),
        num_samples=row.num_samples + num_samples,
    )


def end_session(files: DatasetFiles, row: SessionRow, *, token: str, ended_at: datetime | None = None) -> SessionRow:
    """Say in ``videos`` that a session is over, what it holds and whether some is missing: all of it is published."""
    published = _Published.of(files, row)

    def ended(row: SessionRow) -> SessionRow:
        return replace(
            row,
            status="partial" if published.is_flawed else "ok",
            captured_to=row.captured_to if ended_at is None else max(row.captured_to, ended_at),
            num_segments=published.num_segments,
            num_samples=published.num_samples,
        )

    return change_session(files, row, ended, token=token)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """What the files hold of a session."""

    num_segments: int
    num_samples: int
    is_flawed: bool
    """Whether a slot inside it is missing though something moved, or a row is corrupt."""

    @classmethod
    def of(cls, files: DatasetFiles, row: SessionRow) -> "_Published":
        video_id = row.session.video_id
        names = [name for name in files.tables(FEATURES) if _may_hold(name, row)]
        settled = [
            part.filter(pc.equal(part["video_id"], video_id))
            for part in (footer.settled() for _, footer in files.read_each(names, read_footer))
        ]
        gaps = [name for name in files.tables(GAPS.name) if _may_hold(name, row)]
        return cls(
            num_segments=sum(map(len, settled)),
            num_samples=sum(pc.sum(part["num_samples"]).as_py() or 0 for part in settled),
            is_flawed=any((pc.sum(part["num_corrupt"]).as_py() or 0) > 0 for part in settled)
            or any(has_holes(files.read_ours(name, _gaps), video_id) for name in gaps),
        )


def has_holes(gaps: pa.Table, video_id: str) -> bool:
    """Whether a slot inside a session is missing for another reason than that nothing moved, by rows of ``GAPS``."""
    is_missing = pc.and_(pc.equal(gaps["video_id"], video_id), pc.invert(gaps["filled"]))
    is_inside = pc.and_(pc.is_valid(gaps["start_s"]), pc.not_equal(gaps["reason"], GapReason.GATED.value))
    return bool(pc.any(pc.and_(is_missing, is_inside)).as_py())


def _gaps(file: pa.NativeFile) -> pa.Table:
    return pq.ParquetFile(file).read(["video_id", "start_s", "captured_to", "reason", "filled"])


def _may_hold(name: str, row: SessionRow) -> bool:
    span = Span.of_name(name)
    if span is None:
        return filled_session(name) == row.session.video_id
    return (span.stream, span.writer) == (row.session.stream, row.writer)
