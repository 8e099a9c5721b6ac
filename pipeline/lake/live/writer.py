"""The one writer of a stream: journals what comes in, and publishes it as files of the lake."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Self

from pipeline.errors import StorageError, UsageError
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.declarations import declare
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.closing import close_stream, end_session, told_by
from pipeline.lake.live.entries import Entry, EntryKey
from pipeline.lake.live.entry_rows import entry_of
from pipeline.lake.live.gap_slots import gap_between_sessions
from pipeline.lake.live.journal import Journal
from pipeline.lake.live.names import new_writer
from pipeline.lake.live.publication import publish_entries
from pipeline.lake.live.session_rows import SessionRow, change_session
from pipeline.lake.live.suitable import check_suitable, rate_of
from pipeline.lake.publishing.holders import RUNS_OUT_AFTER_S
from pipeline.lake.publishing.lease import Lease
from pipeline.lake.publishing.slots import StreamSlot
from pipeline.records.stream_rows import STREAM_TABLES
from pipeline.records.streams import Gap, GapReason, Session
from pipeline.records.tables import FEATURES

_MOST_BYTES = 64 << 20
"""Of the journal of one stream: more is published before its time."""
_DERIVING_S = 2.0
"""Whoever derives tables takes the lease for a moment, to close what a killed writer left."""
_RUNNING_OUT_S = RUNS_OUT_AFTER_S + 15.0
"""So long the lease of a process is held that died on a machine which cannot be seen from here."""
_AGAIN_AFTER_S = 0.5


class LiveWriter:
    """Commits what a stream brings into a lake, in a folder or bucket; holds the lease ``stream:NAME`` until closed.

    Between sessions, and before the first one, a batch may hold gaps and events without a video.

    All methods raise ``LeaseLost`` where another program has taken the stream over, and ``StorageError`` where the
    store failed; then nothing is lost, and the same call is to be made again. Not for several threads at once.
    """

    def __init__(
        self,
        uri: str,
        *,
        info: DatasetInfo,
        stream: str,
        uri_of_source: str,
        publish_s: float,
        is_successor: bool = False,
    ) -> None:
        """Take the lease, make the lake if need be, and close what a killed writer of this stream left.

        What that one journalled is published, its session ends, and the gap from there to the first ``begin`` is
        written as ``disconnected`` when ``begin`` is called; if it was killed before a session began, from its start.

        Args:
            uri: of the lake.
            info: its configuration; the sampling rule is ``fps:R``.
            stream: its name.
            uri_of_source: its address, without user info and query.
            publish_s: how long a batch may stand in the journal alone.
            is_successor: the stream's last writer is known to have died, perhaps elsewhere: its lease is waited for.

        Raises:
            UsageError: the lake was made with other settings, or by a version whose features have no ``captured_at``,
                or another program writes this stream, or the place takes no files.
            StorageError: the store failed.
        """
        self._dataset = Dataset.at(uri)
        check_suitable(self._dataset, info)
        self._stream, self._source, self._publish_s = stream, uri_of_source, publish_s
        self._rate_hz = rate_of(info)
        self._dataset.store.ensure_writable()
        self._lease = _acquired(
            self._dataset, StreamSlot(stream=stream), patience_s=_RUNNING_OUT_S if is_successor else _DERIVING_S
        )
        try:
            self._info = self._dataset.create(info)
            check_suitable(self._dataset, info)
            for table in STREAM_TABLES:
                declare(self._dataset.files, table, token=self._token)
            self._dataset.store.clear_temporaries()
            self._past = close_stream(self._dataset, self._info, stream, token=self._token)
            self._lost_since = self._past.told_until
            self._journal = Journal(self._dataset.files, stream)
            self._writer = new_writer(datetime.now(UTC), token=self._token)
            self._journal.mark_open(self._writer, token=self._token)
        except BaseException:
            self._lease.release()
            raise
        self._number = 0
        self._held: list[Entry] = []
        self._num_bytes = 0
        self._published: set[EntryKey] = set()
        """What the journal still holds all the same."""
        self._may_be_published = False
        """Whether some of what is held may be there already, for publishing it has failed half-way."""
        self._row: SessionRow | None = None

    @classmethod
    def check(cls, uri: str, *, info: DatasetInfo, streams: Sequence[str]) -> None:
        """Refuse early, before anything is started for nothing. Writes nothing.

        Raises:
            UsageError: as far as that can be told, what a ``LiveWriter`` of one of these streams would refuse.
        """
        dataset = Dataset.at(uri)
        check_suitable(dataset, info)
        for stream in streams:
            dataset.backend.check(slot=StreamSlot(stream=stream))

    @property
    def tells_what_a_kill_lost(self) -> bool:
        """Whether the first ``begin``, or ``close`` where none comes, writes the gap since a writer that was killed."""
        return self._lost_since is not None

    @property
    def past_session(self) -> str | None:
        """The ``video_id`` of the stream's last session before this writer; ``None``: it had none."""
        return self._past.video_id

    def begin(self, session: Session) -> None:
        """A session begins: from now on it is ``live`` in ``videos``, and batches are of it."""
        if self._row is not None:
            raise ValueError("a session ends before the next one begins")
        gap = self._gap_until(session.started_at)
        if gap is not None:
            self._write(LiveBatch(gaps=(gap,)))
        self._lost_since = None
        row = SessionRow.of(session, writer=self._writer)
        self._row = row
        try:
            self._write(LiveBatch())
            self._row = change_session(self._dataset.files, row, lambda row: row, token=self._token)
        except BaseException:
            self._row = None  # it is to be begun again
            raise

    def commit(self, batch: LiveBatch) -> None:
        """Journal a batch, whole and durable when this returns; an empty one is nothing.

        One that failed must be committed again before another is.
        """
        if batch.is_empty:
            return
        self._write(batch)
        if self._num_bytes > _MOST_BYTES:
            with contextlib.suppress(StorageError):  # the batch is safe; it is tried again when publishing is due
                self._publish()

    def end(self, *, ended_at: datetime) -> None:
        """The session is over, and published.

        Args:
            ended_at: the end of its last slot.
        """
        if self._row is None:
            raise ValueError("no session has begun")
        self._publish()
        end_session(self._dataset.files, self._row, token=self._token, ended_at=ended_at)
        self._row = None

    def publish_due(self, *, again_in_s: float = 0.0) -> None:
        """Publish what the journal holds, if its oldest batch is older than ``publish_s``, or will be ``again_in_s``.

        So with a ``publish_s`` that is shorter than the time between two commits, each is published at once.
        """
        if self._held and time.time() + again_in_s - self._held[0].header.written_s >= self._publish_s:
            self._publish()

    def close(self) -> None:
        """Publish what the journal holds and give the lease back. A session that did not end stays to be closed.

        What a killed writer lost, and no session has followed, is told up to now.
        """
        try:
            gap = self._gap_until(datetime.now(UTC))
            if gap is not None:
                self._write(LiveBatch(gaps=(gap,)))
                self._lost_since = None
            self._publish()
            if self._row is None:
                self._journal.mark_closed(token=self._token)
        finally:
            self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _token(self) -> str:
        return self._lease.token

    def _write(self, batch: LiveBatch) -> None:
        session = None if self._row is None else self._row.session
        key = EntryKey(stream=self._stream, writer=self._writer, number=self._number + 1)
        entry = entry_of(batch, key, session=session, info=self._info, rate_hz=self._rate_hz)
        self._num_bytes += self._journal.write(entry, token=self._token)
        self._number += 1
        self._held.append(entry)

    def _publish(self) -> None:
        if not self._held:
            return
        files = self._dataset.files
        is_repeated, self._may_be_published = self._may_be_published, True
        publish_entries(files, self._info, self._held, is_repeated=is_repeated, token=self._token)
        if self._row is not None:
            self._row = change_session(files, self._row, self._counted, token=self._token)
        self._published |= {entry.header.key for entry in self._held}
        self._held, self._num_bytes, self._may_be_published = [], 0, False
        self._journal.remove(self._published, token=self._token)
        self._published.clear()

    def _counted(self, row: SessionRow) -> SessionRow:
        """The row of the session with what is being published; it is counted anew when the session ends."""
        headers = [entry.header for entry in self._held if entry.header.session == row.session]
        num_rows = sum(header.num_rows[FEATURES] for header in headers)
        known = row if self._row is None else replace(row, num_samples=self._row.num_samples)
        return told_by(known, headers, num_samples=num_rows)

    def _gap_until(self, until: datetime) -> Gap | None:
        """What is missing since a writer that was killed."""
        if self._lost_since is None:
            return None
        return gap_between_sessions(
            video_id=self._past.video_id,
            uri=self._source,
            stream=self._stream,
            reason=GapReason.DISCONNECTED,
            captured_from=self._lost_since,
            captured_to=until,
            rate_hz=self._rate_hz,
        )


def _acquired(dataset: Dataset, slot: StreamSlot, *, patience_s: float) -> Lease:
    """The lease of a stream, which may be held for so long by somebody who gives it back or is dead."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return dataset.backend.acquire(slot=slot)
        except UsageError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_AFTER_S)
