"""Entries of the journal become files: one a table, each under its final name, whose footer lists the entries in it.

Whatever a kill interrupts is done again: what a footer lists is there, and what none lists is not.
"""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.appended_file import LIVE_KEY, file_of, file_with
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.entries import Entry, EntryKey
from pipeline.lake.live.names import Span, published, runs_of
from pipeline.records.documents import Document
from pipeline.records.segments import MAX_SAMPLES
from pipeline.records.settled import Settled
from pipeline.records.stream_rows import STREAM_TABLES
from pipeline.records.tables import FEATURES


def publish_entries(
    files: DatasetFiles, info: DatasetInfo, entries: Sequence[Entry], *, is_repeated: bool, token: str
) -> None:
    """Publish entries of one writer, by their numbers, in one file a table; ``features`` last.

    Args:
        files: of the lake.
        info: how its rows are made.
        entries: in the order of their numbers.
        is_repeated: whether somebody may have published some of them before: then the footers are looked at.
        token: of the stream's lease.

    Raises:
        LeaseLost: another program writes the stream.
        StorageError: the store failed.
    """
    by_key = {entry.header.key: entry for entry in entries}
    for table in reversed(STREAM_TABLES):
        with_rows = [key for key, entry in by_key.items() if entry.header.num_rows[table.name]]
        if is_repeated:
            there = published(files, table.name, with_rows)
            with_rows = [key for key in with_rows if not any(key in span for span in there)]
        if with_rows:
            rows = pa.concat_tables([by_key[key].rows[table.name] for key in with_rows])
            span = Span.of(with_rows)
            rows = rows.replace_schema_metadata(table.schema.metadata)
            _publish(files, span.file(table.name), _side_file(rows, span), _side_file(rows.slice(0, 0), None), token)
    keys = list(by_key)
    if is_repeated:
        there = published(files, FEATURES, keys)
        keys = [key for key in keys if not any(key in span for span in there)]
    for run in runs_of(keys):
        _publish_features(files, info, [by_key[key] for key in run], token=token)


def _publish_features(files: DatasetFiles, info: DatasetInfo, entries: Sequence[Entry], *, token: str) -> None:
    schema = info.features.schema
    segments = _segments(entries)
    parts = [
        _numbered(pa.concat_tables([entry.rows[FEATURES] for entry in segment]), segment[0].header.key)
        for segment in segments
    ]
    rows = pa.concat_tables([schema.remove_metadata().empty_table(), *parts]).replace_schema_metadata(schema.metadata)
    settled = [_settled(segment) for segment in segments]
    span = Span.of([entry.header.key for entry in entries])
    data = file_of(rows, settled, {LIVE_KEY: {**span.to_json(), **_summary(entries)}})
    stand_in = file_of(rows.slice(0, 0), [])
    _publish(files, span.file(FEATURES), bytes(data), bytes(stand_in), token)


def _publish(files: DatasetFiles, name: str, data: bytes, stand_in: bytes, token: str) -> None:
    files.fence(token).publish(name, data, stand_in=stand_in)  # a name that is taken stands for these very entries


def _side_file(rows: pa.Table, span: Span | None) -> bytes:
    return bytes(file_with(rows, {} if span is None else {LIVE_KEY: span.to_json()}))


def _segments(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Entries with rows, grouped: each group is a segment of one session in the lake's eyes."""
    segments: list[list[Entry]] = []
    num_rows = 0
    for entry in entries:
        count = entry.header.num_rows[FEATURES]
        if not count:
            continue
        is_new = not segments or segments[-1][0].header.session != entry.header.session
        if is_new or num_rows + count > MAX_SAMPLES:
            segments.append([])
            num_rows = 0
        segments[-1].append(entry)
        num_rows += count
    return segments


def _numbered(rows: pa.Table, key: EntryKey) -> pa.Table:
    at = rows.schema.get_field_index("segment")
    return rows.set_column(at, rows.schema.field(at), pa.array([key.number] * len(rows), pa.int32()))


def _settled(segment: Sequence[Entry]) -> Settled:
    session = segment[0].header.session
    if session is None:
        raise ValueError("rows belong to a session")
    return Settled.complete(
        session.video_id,
        segment[0].header.key.number,
        attempts=1,
        num_samples=sum(entry.header.num_rows[FEATURES] for entry in segment),
        num_corrupt=sum(pc.sum(entry.rows[FEATURES]["is_corrupt"]).as_py() or 0 for entry in segment),
    )


def _summary(entries: Sequence[Entry]) -> Document:
    """What ``status`` says of the entries, so that it need not open the files of other tables."""
    headers = [entry.header for entry in entries]
    missing: Counter[str] = Counter()
    for header in headers:
        missing.update(header.missing_slots)
    return {
        "sessions": sorted({header.session.video_id for header in headers if header.session is not None}),
        "missing_slots": dict(missing),
        "num_rows": {table.name: sum(header.num_rows[table.name] for header in headers) for table in STREAM_TABLES},
    }
