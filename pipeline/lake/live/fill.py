"""Slots that were dropped, and come from a recording later."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.appended_file import LIVE_KEY, file_of, file_with, foreign_file
from pipeline.lake.dataset import Dataset
from pipeline.lake.dataset_videos import VideosOfDataset
from pipeline.lake.files import digest_of
from pipeline.lake.live.batches import LiveBatch, SessionStatus, StoredGap
from pipeline.lake.live.closing import has_holes
from pipeline.lake.live.entry_rows import feature_rows
from pipeline.lake.live.gap_slots import FilledSlots, filled_slots, moment_in, slots_of, split_all
from pipeline.lake.live.names import Span, fill_file, live_document
from pipeline.lake.live.session_rows import SessionRow, change_session, read_sessions
from pipeline.lake.live.suitable import rate_of
from pipeline.lake.publishing.slots import FILL
from pipeline.media.sampling.fps import slot_of
from pipeline.media.sampling.pickers import allowance_of
from pipeline.records.ids import id_bytes, ids_of_keys
from pipeline.records.segments import MAX_SAMPLES, FrameMark
from pipeline.records.settled import Settled
from pipeline.records.stream_rows import GAPS, gap_of, gap_rows

_FIRST_SEGMENT = 1 << 30
"""Of filled slots: their number and this one's sum is a number that no entry of the journal reaches."""


class LiveFill:
    """Commits the rows of slots that stand in gaps; holds the lease ``fill`` until closed, beside the streams' own.

    Raises as ``LiveWriter`` does.
    """

    def __init__(self, uri: str) -> None:
        """Take the lease.

        Raises:
            UsageError: there is no lake, or another ``fill`` is at work.
            StorageError: the store failed.
        """
        self._dataset = Dataset.at(uri)
        self._info = self._dataset.existing()
        self._rate_hz = rate_of(self._info)
        self._dataset.store.ensure_writable()
        self._lease = self._dataset.backend.acquire(slot=FILL)
        try:
            self._sessions = {row.session.video_id: row for row in read_sessions(self._dataset.files)}
            self._filled = filled_slots(self._dataset.files)
        except BaseException:
            self._lease.release()
            raise

    @property
    def token(self) -> str:
        """Of the lease."""
        return self._lease.token

    def commit(self, gaps: Sequence[StoredGap], marks: Sequence[FrameMark], features: NDArray[np.float32]) -> None:
        """Commit rows of gaps of one session and reason, each in a slot of its own, with the recording's pts.

        Published at once, in a file of their own: give what goes together at once, for gaps may be a slot each.
        ``captured_at`` follows from the gaps. A slot that was filled meanwhile is passed over. Those that remain stay
        in their gap, which then comes as several.

        Args:
            gaps: as ``readers.gaps`` gives them.
            marks: of the rows, T of them, by pts.
            features: ``float32[T, D]``.
        """
        row, reason = self._of_all(gaps)
        allowance = allowance_of(row.session.time_base)
        slots = [slot_of(Fraction(mark.time_s), allowance=allowance, rate_hz=self._rate_hz) for mark in marks]
        gap_at = {slot: each for each in gaps for slot in slots_of(each.gap, rate_hz=self._rate_hz)}
        if len(set(slots)) < len(slots) or not set(slots) <= gap_at.keys():
            raise ValueError(f"rows of slots {slots} do not fill gaps of {sorted(gap_at)}")
        done = self._filled.setdefault(row.session.video_id, set())
        places = [at for at, slot in enumerate(slots) if slot not in done and not gap_at[slot].is_filled]
        for at in range(0, len(places), MAX_SAMPLES):
            some = places[at : at + MAX_SAMPLES]
            batch = LiveBatch(
                marks=tuple(marks[place] for place in some),
                captured_at=tuple(
                    moment_in(gap_at[slots[place]].gap, slots[place], rate_hz=self._rate_hz) for place in some
                ),
                features=features[some],
            )
            self._publish(row, reason, [slots[place] for place in some], batch)
            done.update(slots[place] for place in some)

    def close(self) -> None:
        """Say in ``gaps`` and ``videos`` what is filled, and give the lease back."""
        try:
            touched = {video_id for video_id, slots in self._filled.items() if slots} & self._sessions.keys()
            if touched:
                self._mark_gaps(touched)
                self._mark_sessions(touched)
        finally:
            self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _of_all(self, gaps: Sequence[StoredGap]) -> tuple[SessionRow, str]:
        """The session and the reason of gaps, which are the same for all."""
        [(video_id, reason)] = {(each.gap.video_id or "", str(each.gap.reason)) for each in gaps}
        if video_id not in self._sessions:
            raise ValueError(f"the lake has no session {video_id}")
        return self._sessions[video_id], reason

    def _publish(self, row: SessionRow, reason: str, slots: Sequence[int], batch: LiveBatch) -> None:
        segment = _FIRST_SEGMENT + slots[0]
        schema = self._info.features.schema
        rows = feature_rows(batch, row.session, info=self._info, number=segment)
        rows = rows.replace_schema_metadata(schema.metadata)
        settled = Settled.complete(
            row.session.video_id,
            segment,
            attempts=1,
            num_samples=len(slots),
            num_corrupt=sum(mark.is_corrupt for mark in batch.marks),
        )
        filled = FilledSlots(
            stream=row.session.stream, video_id=row.session.video_id, reason=reason, slots=tuple(slots)
        )
        name = fill_file(row.session.video_id, digest_of(map(str, slots)))
        data = bytes(file_of(rows, [settled], {LIVE_KEY: filled.to_json()}))
        stand_in = bytes(file_of(rows.slice(0, 0), []))
        self._dataset.files.fence(self.token).publish(name, data, stand_in=stand_in)

    def _mark_gaps(self, touched: Collection[str]) -> None:
        files = self._dataset.files
        writers = {(row.session.stream, row.writer) for video_id, row in self._sessions.items() if video_id in touched}
        for name in files.tables(GAPS.name):
            span = Span.of_name(name)
            if span is None or (span.stream, span.writer) in writers:
                while not self._mark(name):
                    pass

    def _mark(self, name: str) -> bool:
        """Whether what is filled stands in a file of gaps now; False: it was replaced meanwhile, and is to be again."""
        files = self._dataset.files
        version = files.store.version(name)
        there = files.read(name, partial(_read_gaps, uri=files.uri(name)))
        now = list(split_all(there.gaps, self._filled, rate_hz=self._rate_hz))
        if now == there.gaps:
            return True
        rows = gap_rows([each.gap for each in now], filled=[each.is_filled for each in now])
        data = file_with(rows.replace_schema_metadata(GAPS.schema.metadata), there.documents)
        return files.fence(self.token).replace(name, bytes(data), version=version)

    def _mark_sessions(self, touched: Collection[str]) -> None:
        files = self._dataset.files
        ids = id_bytes(pa.chunked_array([pa.array(sorted(touched), pa.string())]))
        videos = VideosOfDataset.of(self._dataset)
        segments = ids_of_keys(videos.ledger.keys)
        parts = [files.read_ours(name, lambda file: pq.ParquetFile(file).read()) for name in files.tables(GAPS.name)]
        gaps = pa.concat_tables([GAPS.schema.empty_table(), *(part.select(GAPS.schema.names) for part in parts)])
        for video_id, num_samples in zip(sorted(touched), videos.num_samples(ids).tolist(), strict=True):
            is_own = segments == video_id.encode()
            is_flawed = bool(videos.ledger.num_corrupt[is_own].any()) or has_holes(gaps, video_id)
            status: SessionStatus = "partial" if is_flawed else "ok"
            change = partial(_counted, status=status, num_samples=num_samples, num_segments=int(is_own.sum()))
            change_session(files, self._sessions[video_id], change, token=self.token)


def _counted(row: SessionRow, *, status: SessionStatus, num_samples: int, num_segments: int) -> SessionRow:
    """The row with what was counted; the writer of a session that is not over counts when it ends."""
    if row.status == "live":
        return row
    return replace(row, status=status, num_samples=num_samples, num_segments=num_segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class _GapsFile:
    """What a file of gaps holds, and the documents in its footer."""

    gaps: list[StoredGap]
    documents: dict[bytes, object]


def _read_gaps(file: pa.NativeFile, *, uri: str) -> _GapsFile:
    try:
        parquet = pq.ParquetFile(file)
        document = live_document(parquet.metadata, uri=uri)
        rows = parquet.read(GAPS.schema.names).to_pylist()
        gaps = [StoredGap(gap=gap_of(row), is_filled=row["filled"] is True) for row in rows]
    except (pa.ArrowException, KeyError, TypeError, ValueError):
        raise foreign_file(uri, "it is damaged") from None
    return _GapsFile(gaps=gaps, documents={} if document is None else {LIVE_KEY: document})
