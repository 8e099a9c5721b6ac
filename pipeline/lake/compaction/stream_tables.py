"""What streams brought beside features, in large files: their gaps, events and tracks, and their sessions."""

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from pipeline.lake.appended_file import file_with
from pipeline.lake.dataset import Dataset
from pipeline.lake.files import DatasetFiles
from pipeline.lake.live.names import is_of_streams
from pipeline.lake.live.session_rows import file_of_sessions, further_columns, rows_of_sessions
from pipeline.lake.live.view import LiveLake
from pipeline.records.stream_rows import STREAM_TABLES
from pipeline.records.tables import VIDEOS, Table


def compact_streams(source: Dataset, target: DatasetFiles, *, file_bytes: int, token: str) -> None:
    """Write what is published of all streams of a lake into another, in place of what an earlier run wrote there.

    Raises:
        ForeignFile: the source is damaged.
        LeaseLost: another run has taken the target over.
        StorageError: a store failed.
    """
    lake = LiveLake(source, source.existing())
    for table in STREAM_TABLES:
        names = [
            _replace(target, f"{table.name}/streams-{number:05d}.parquet", rows, table, token=token)
            for number, rows in enumerate(_parts(lake, table, file_bytes=file_bytes))
        ]
        _remove_others(target, table.name, names, token=token)
    further = further_columns(source.files)
    for name in source.files.tables(VIDEOS.name):
        if is_of_streams(name):
            rows = rows_of_sessions(source.files, name)
            # No writer is at work on the copy.
            closed = {
                video_id: replace(row, status="partial") if row.status == "live" else row
                for video_id, row in rows.items()
            }
            data = file_of_sessions(closed, further=further)
            target.fence(token).replace(name, data, version=target.store.version(name))


def _parts(lake: LiveLake, table: Table, *, file_bytes: int) -> Iterator[pa.Table]:
    """The rows of a table, in the order of time, in parts of about so many bytes in memory."""
    some: list[pa.Table] = []
    num_bytes = 0
    for rows in lake.read(lake.names(table.name), table.schema.names):
        some.append(rows)
        num_bytes += rows.nbytes
        if num_bytes > file_bytes:
            yield pa.concat_tables(some)
            some, num_bytes = [], 0
    if some:
        yield pa.concat_tables(some)


def _replace(target: DatasetFiles, name: str, rows: pa.Table, table: Table, *, token: str) -> str:
    data = bytes(file_with(rows.replace_schema_metadata(table.schema.metadata), {}))
    target.fence(token).replace(name, data, version=target.store.version(name))
    return name


def _remove_others(target: DatasetFiles, table: str, kept: list[str], *, token: str) -> None:
    for name in target.store.list(table):
        if name not in kept:
            target.fence(token).remove(name)
