"""What streams brought, journal and files as one: the way in for whoever reads a lake that is being written.

All of these raise ``UsageError`` where there is no lake, ``ForeignFile`` where a file is damaged, and ``StorageError``
where the store failed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.appended_file import file_metadata
from pipeline.lake.live.batches import StoredGap, StoredSession
from pipeline.lake.live.gap_slots import filled_slots, split_all
from pipeline.lake.live.suitable import rate_of
from pipeline.lake.live.view import LiveLake
from pipeline.records.events import Event, TrackPoint
from pipeline.records.stream_rows import EVENTS, GAPS, TRACKS, event_of, gap_of, track_point_of
from pipeline.records.tables import FEATURES

_ROWS_AT_ONCE = 10_000
_AFTER_ALL = "\U0010ffff"


def streams(uri: str) -> list[str]:
    """The names of the streams that ever wrote into a lake, sorted."""
    return sorted({stored.session.stream for stored in sessions(uri)})


def sessions(uri: str, stream: str | None = None) -> list[StoredSession]:
    """The sessions of a stream, or of all, by their start."""
    rows = LiveLake.at(uri, stream=stream).sessions.values()
    return sorted((row.stored for row in rows), key=lambda each: (each.session.started_at, each.session.stream))


def gaps(uri: str, stream: str | None = None) -> list[StoredGap]:
    """The gaps of a stream, or of all, by ``captured_from``; what was filled since a file was written says so."""
    lake = LiveLake.at(uri, stream=stream)
    stored = [
        StoredGap(gap=gap_of(row), is_filled=row["filled"] is True)
        for rows in _all_rows(lake, GAPS.name)
        for row in rows.to_pylist()
    ]
    known = split_all(stored, filled_slots(lake.files), rate_hz=rate_of(lake.info))
    return sorted(known, key=lambda each: each.gap.captured_from)


def events(uri: str, stream: str | None = None, *, after_event_id: str | None = None) -> Iterator[Event]:
    """The events of a stream, or of all, by ``event_id``; ``after_event_id``: only later ones."""
    lake = LiveLake.at(uri, stream=stream)
    after = after_event_id or ""
    parts = [_Events.of_rows(entry.rows[EVENTS.name]) for entry in lake.unpublished(EVENTS.name)]
    for name, (first, last) in lake.files.read_each(lake.names(EVENTS.name), _event_ids):
        parts.append(_Events(first=first, last=last, rows=None, name=name))
    for group in _overlapping(part for part in parts if part.last > after):
        tables = [rows for part in group for rows in (lake.read([part.name]) if part.rows is None else [part.rows])]
        found = pa.concat_tables([EVENTS.schema.empty_table(), *(rows.select(EVENTS.schema.names) for rows in tables)])
        found = found.filter(pc.greater(found["event_id"], after)).sort_by("event_id")
        for at in range(0, len(found), _ROWS_AT_ONCE):
            yield from map(event_of, found.slice(at, _ROWS_AT_ONCE).to_pylist())


def tracks(uri: str, stream: str | None = None, *, video_id: str | None = None) -> Iterator[TrackPoint]:
    """Where objects were, by stream and time; ``video_id``: in this session alone."""
    lake = LiveLake.at(uri, stream=stream)
    for rows in _all_rows(lake, TRACKS.name, video_id=video_id):
        kept = rows if video_id is None else rows.filter(pc.equal(rows["video_id"], video_id))
        for at in range(0, len(kept), _ROWS_AT_ONCE):
            yield from map(track_point_of, kept.slice(at, _ROWS_AT_ONCE).to_pylist())


def rows(uri: str, *, video_id: str | None = None, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of sessions in the columns of ``features``, a file or batch at a time, each row once.

    Args:
        uri: of the lake.
        video_id: of this session alone.
        columns: only these.
    """
    lake = LiveLake.at(uri)
    wanted = list(columns or lake.info.features.schema.names)
    read = list(dict.fromkeys([*wanted, "video_id"]))
    unpublished = [entry.rows[FEATURES] for entry in lake.unpublished(FEATURES)]
    ids = pa.array(sorted(lake.sessions if video_id is None else {video_id}), pa.string())
    for table in chain(lake.read(list(lake.feature_names(video_id=video_id)), read), unpublished):
        kept = table.filter(pc.is_in(table["video_id"], ids)).select(wanted)
        if len(kept):
            yield kept


def _all_rows(lake: LiveLake, table: str, *, video_id: str | None = None) -> Iterator[pa.Table]:
    """The rows of a table, those of files first: the journal is read before they are listed."""
    unpublished = [entry.rows[table] for entry in lake.unpublished(table)]
    return chain(lake.read(lake.names(table, video_id=video_id)), unpublished)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Events:
    """Some events, between a first and a last id: rows of the journal, or a file."""

    first: str
    last: str
    rows: pa.Table | None
    name: str

    @classmethod
    def of_rows(cls, rows: pa.Table) -> "_Events":
        ends = pc.min_max(rows["event_id"]).as_py()
        return cls(first=ends["min"], last=ends["max"], rows=rows, name="")


def _event_ids(file: pa.NativeFile, *, uri: str) -> tuple[str, str]:
    """The first and the last id in a file, by its footer."""
    metadata = file_metadata(file, uri=uri)
    at = metadata.schema.to_arrow_schema().get_field_index("event_id")
    firsts, lasts = [], []
    for number in range(metadata.num_row_groups):
        statistics = metadata.row_group(number).column(at).statistics if at >= 0 else None
        firsts.append(statistics.min if statistics is not None and statistics.has_min_max else "")
        lasts.append(statistics.max if statistics is not None and statistics.has_min_max else _AFTER_ALL)
    return min(firsts, default=""), max(lasts, default="")


def _overlapping(parts: Iterable[_Events]) -> Iterator[list[_Events]]:
    """Parts by time; those that overlap go together."""
    group: list[_Events] = []
    for part in sorted(parts, key=lambda each: each.first):
        if group and part.first > max(each.last for each in group):
            yield group
            group = []
        group.append(part)
    if group:
        yield group
