"""A file of an appended table: rows, and a footer that lists what the file settles, with or without rows."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.lake import earlier_versions
from pipeline.lake.files import ForeignFile
from pipeline.records.documents import Document, document_of
from pipeline.records.ids import ID_BYTES
from pipeline.records.rows import table_of
from pipeline.records.schemas import SETTLED
from pipeline.records.settled import Settled
from pipeline.records.tables import METADATA_KEY

_SETTLED_KEY = b"vidlake.settled"
LIVE_KEY = b"vidlake.live"
"""Of the document in the footer of a file of streams."""
_SETTLED_BYTES = 1 << 20
ROW_GROUP_ROWS = 1024
_ROW_GROUP_BYTES = 16 << 20
"""Of rows as long as pictures are: whoever looks for one reads its group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a file says of itself."""

    uri: str
    settled_json: bytes
    """The list of segments, not parsed yet: so a footer that waits for its turn takes little memory."""
    num_rows: int
    data_bytes: int
    """Of the file, without its footer."""
    live_json: bytes | None
    """What a file of streams says of itself, not parsed; ``None``: it is no such file."""

    def settled(self) -> pa.Table:
        """``SETTLED`` rows; the file's own rows are in this order, ``num_samples`` of each.

        Raises:
            ForeignFile: the list is damaged.
        """
        return _settled(_parsed(self.settled_json, uri=self.uri), uri=self.uri)


def file_of(
    rows: pa.Table, entries: Sequence[Settled], further: Mapping[bytes, object] = MappingProxyType({})
) -> pa.Buffer:
    """The bytes of a file: rows under their schema's metadata, and the entries that they belong to, in their order.

    ``further`` JSON documents stand in its footer beside the entries.
    """
    return file_with(rows, {_SETTLED_KEY: [entry.to_json() for entry in entries], **further})


def file_with(rows: pa.Table, documents: Mapping[bytes, object]) -> pa.Buffer:
    """The bytes of a file with rows under their schema's metadata, and JSON documents in its footer."""
    sink = pa.BufferOutputStream()
    fields = list(rows.schema)
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        use_dictionary=[field.name for field in fields if pa.types.is_string(field.type)],
        write_statistics=[field.name for field in fields if _is_ordered(field.type)],
        # DuckDB 2.0 reads byte-stream-split float32, but not float16.
        use_byte_stream_split=[f"{field.name}.list.element" for field in fields if _is_vector(field.type)] or False,
    ) as writer:
        writer.write_table(rows, row_group_size=_rows_per_group(rows))
        # Beside the schema and not in it: Parquet keeps what is in the schema twice.
        writer.add_key_value_metadata({key: json.dumps(document) for key, document in documents.items()})
    return sink.getvalue()


def read_footer(file: pa.NativeFile, *, uri: str) -> Footer:
    """What a file says of itself; its rows are left alone.

    Raises:
        ForeignFile: it is not one of ours.
        OSError: the store failed.
    """
    metadata = file_metadata(file, uri=uri)
    return Footer(
        uri=uri,
        settled_json=_value(metadata, _SETTLED_KEY, uri=uri),
        num_rows=metadata.num_rows,
        data_bytes=max(0, file.size() - metadata.serialized_size),
        live_json=(metadata.metadata or {}).get(LIVE_KEY),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledTogether:
    """What several footers list."""

    footers: tuple[Footer, ...]
    counts: tuple[int, ...]
    """How many entries each of them lists."""
    entries: pa.Table
    """As ``Footer.settled`` gives them, one footer's behind the other's."""


def settled_together(footers: Iterable[Footer]) -> Iterator[SettledTogether]:
    """What footers list, many small ones at a time: that takes a tenth of the time that each by itself takes.

    Raises:
        ForeignFile: a list is damaged.
    """
    some: list[Footer] = []
    num_bytes = 0
    for footer in footers:
        some.append(footer)
        num_bytes += len(footer.settled_json)
        if num_bytes > _SETTLED_BYTES:
            yield _together(some)
            some, num_bytes = [], 0
    if some:
        yield _together(some)


def _together(footers: Sequence[Footer]) -> SettledTogether:
    lists = [_parsed(footer.settled_json, uri=footer.uri) for footer in footers]
    joined = [entry for each in lists if isinstance(each, list) for entry in each]
    try:
        if not all(isinstance(each, list) for each in lists):
            raise foreign_file(footers[0].uri, "its list of segments is damaged")
        counts = tuple(len(each) for each in lists if isinstance(each, list))
        entries = _settled(joined, uri=footers[0].uri)
    except ForeignFile:  # by itself each of them tells whether it is the damaged one
        parts = [footer.settled() for footer in footers]
        counts, entries = tuple(map(len, parts)), pa.concat_tables(parts)
    return SettledTogether(footers=tuple(footers), counts=counts, entries=entries)


def _settled(document: object, *, uri: str) -> pa.Table:
    try:
        settled = table_of(earlier_versions.settled_entries(document), SETTLED)
    except (pa.ArrowException, TypeError, AttributeError, ValueError, KeyError, OverflowError):
        raise foreign_file(uri, "its list of segments is damaged") from None
    if len(settled) and not _is_sound(settled):
        raise foreign_file(uri, "its list of segments is damaged")
    return settled


def read_description(file: pa.NativeFile, *, uri: str) -> Document:
    """The document that says how a file's rows were made. Raises as ``read_footer`` does."""
    value = _value(file_metadata(file, uri=uri), METADATA_KEY, uri=uri)
    return document_of(_parsed(value, uri=uri), name="the configuration")


def read_document(file: pa.NativeFile, key: bytes, *, uri: str) -> object:
    """The JSON document in a file's footer, as ``file_with`` wrote it. Raises as ``read_footer`` does."""
    return _parsed(_value(file_metadata(file, uri=uri), key, uri=uri), uri=uri)


def read_rows(file: pa.NativeFile, spans: Sequence[tuple[int, int]], *, schema: pa.Schema, uri: str) -> list[pa.Table]:
    """The rows of each span, its first row and how many, of a file in the columns of ``schema``.

    Raises as ``read_footer`` does.
    """
    try:
        parquet = pq.ParquetFile(file, pre_buffer=True)
        sizes = [parquet.metadata.row_group(at).num_rows for at in range(parquet.metadata.num_row_groups)]
        ends = np.cumsum([0, *sizes])
        of_first, of_last = (
            np.searchsorted(ends, rows, side="right") - 1
            for rows in ([first for first, _ in spans], [first + count - 1 for first, count in spans])
        )
        is_read = np.zeros(len(sizes), np.bool_)
        for begin, end in zip(of_first, of_last, strict=True):
            is_read[begin : end + 1] = True
        table = parquet.read_row_groups(np.flatnonzero(is_read).tolist())
        table = pa.Table.from_arrays(table.columns, schema=schema)
    except (pa.ArrowException, ValueError, IndexError):
        raise foreign_file(uri, "its rows are damaged") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise foreign_file(uri, "its rows are damaged") from None
    num_left_out = np.cumsum(np.where(is_read, 0, sizes))
    return [
        table.slice(first - num_left_out[group], count)
        for (first, count), group in zip(spans, of_first.tolist(), strict=True)
    ]


def file_metadata(file: pa.NativeFile, *, uri: str) -> pq.FileMetaData:
    """A file's footer. Raises as ``read_footer`` does."""
    try:
        return pq.read_metadata(file)
    except ValueError:  # pyarrow's errors are, but for those of the thrift inside
        raise foreign_file(uri, "it is damaged, or no Parquet file") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise foreign_file(uri, "it is damaged") from None


def _value(metadata: pq.FileMetaData, key: bytes, *, uri: str) -> bytes:
    try:
        value: bytes = (metadata.metadata or {})[key]
    except KeyError:
        raise foreign_file(uri, "it was not written by vidlake") from None
    return value


def _parsed(document: bytes, *, uri: str) -> object:
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        raise foreign_file(uri, "it is damaged") from None


def _is_sound(settled: pa.Table) -> bool:
    """Whether every entry says of which video and how many rows: what is made of it relies on that."""
    numbers = [settled[name] for name in ("attempts", "num_samples", "num_corrupt")]
    if settled["video_id"].null_count or any(column.null_count for column in numbers):
        return False
    least = min(pc.min(column).as_py() for column in (*numbers, settled["segment"].fill_null(0)))
    are_ids = pc.match_substring_regex(settled["video_id"], f"^[0-9a-f]{{{ID_BYTES}}}$")
    return bool(least >= 0 and pc.all(are_ids).as_py())


def _rows_per_group(rows: pa.Table) -> int:
    fields = list(rows.schema)
    row_bytes: int = sum(field.type.byte_width for field in fields if pa.types.is_fixed_size_binary(field.type))
    of_any_size = [field.name for field in fields if pa.types.is_binary(field.type)]
    row_bytes += sum(rows[name].nbytes for name in of_any_size) // max(1, len(rows))
    return max(1, min(ROW_GROUP_ROWS, _ROW_GROUP_BYTES // max(1, row_bytes)))


def _is_vector(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and kind.value_type == pa.float32())


def _is_ordered(kind: pa.DataType) -> bool:
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not (pa.types.is_nested(kind) or is_bytes)


def foreign_file(uri: str, what: str) -> ForeignFile:
    """What to say of a file that cannot be where it is, and why."""
    folder = uri.rpartition("/")[0].rpartition("/")[2]
    return ForeignFile(f"{uri} cannot be among the {folder}, for {what}: move it elsewhere and run the command again")
