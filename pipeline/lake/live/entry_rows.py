"""What a stream brings, as an entry of the journal."""

import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

import numpy as np
import pyarrow as pa

from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.entries import Entry, EntryHeader, EntryKey
from pipeline.records.stream_rows import EVENTS, GAPS, TRACKS, event_rows, gap_rows, track_rows
from pipeline.records.streams import Gap, Session
from pipeline.records.tables import CAPTURED_AT, FEATURES


def entry_of(
    batch: LiveBatch, key: EntryKey, *, session: Session | None, info: DatasetInfo, rate_hz: Fraction
) -> Entry:
    """A batch of a session, or from between two, as an entry."""
    if batch.marks and session is None:
        raise ValueError("rows belong to a session")
    rows = {
        FEATURES: feature_rows(batch, session, info=info, number=key.number),
        GAPS.name: gap_rows(batch.gaps),
        EVENTS.name: event_rows(batch.events),
        TRACKS.name: track_rows(batch.tracks),
    }
    slot_s = 1 / rate_hz
    inside = [gap for gap in batch.gaps if gap.end_s is not None]
    ends = [gap.captured_to for gap in inside]
    ends += [moment + timedelta(seconds=float(slot_s)) for moment in batch.captured_at]
    ends_s = [gap.end_s for gap in inside if gap.end_s is not None]
    ends_s += [mark.time_s + float(slot_s) for mark in batch.marks]
    header = EntryHeader(
        key=key,
        written_s=time.time(),
        session=session,
        captured_to=_latest(ends) if session is not None else None,
        end_s=max(ends_s, default=None),
        num_rows={name: len(table) for name, table in rows.items()},
        missing_slots=_missing(batch.gaps),
    )
    return Entry(header=header, rows=rows)


def feature_rows(batch: LiveBatch, session: Session | None, *, info: DatasetInfo, number: int) -> pa.Table:
    """The rows of ``features`` of a batch, as segment ``number`` of its session, without the schema's metadata."""
    schema = info.features.schema.remove_metadata()
    if session is None or batch.features is None or not batch.marks:
        return schema.empty_table()
    count, dim = len(batch.marks), info.config.model.dim
    if batch.features.dtype != np.float32 or batch.features.shape != (count, dim):
        raise ValueError(f"{batch.features.dtype}{batch.features.shape} are not {count} features of {dim} values")
    kind = schema.field("feature").type
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, as it should
        flat = np.ascontiguousarray(batch.features).reshape(-1).astype(kind.value_type.to_pandas_dtype(), copy=False)
    columns = {
        "video_id": [session.video_id] * count,
        "uri": [session.uri] * count,
        "segment": [number] * count,
        "time_base": [str(session.time_base)] * count,
        **{name: [getattr(mark, name) for mark in batch.marks] for name in batch.marks[0].__slots__},
        CAPTURED_AT: list(batch.captured_at),
    }
    arrays = [
        pa.FixedSizeListArray.from_arrays(pa.array(flat), dim)
        if field.name == "feature"
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _missing(gaps: Sequence[Gap]) -> dict[str, int]:
    slots: Counter[str] = Counter()
    for gap in gaps:
        slots[str(gap.reason)] += gap.num_slots
    return dict(slots)


def _latest(moments: list[datetime]) -> datetime | None:
    return max(moments, default=None)
