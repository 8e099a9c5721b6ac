"""Features files: a row a sample, and a footer that lists the segments which the file settles, with or without rows."""

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__
from pipeline.errors import RunError
from pipeline.lake import earlier_versions
from pipeline.lake.config import DatasetConfig
from pipeline.records.documents import Document, document_of
from pipeline.records.rows import feature_table, table_of
from pipeline.records.schemas import SETTLED, features_schema
from pipeline.records.segments import Settled

_METADATA_KEY = b"vidlake"
_SETTLED_KEY = b"vidlake.settled"
ROW_GROUP_ROWS = 1024


class ForeignFile(RunError):
    """A file in a folder of the dataset that is not ours, or no longer whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a features file says of itself."""

    uri: str
    settled_json: bytes
    """The list of segments, not parsed yet: so a footer that waits for its turn takes little memory."""
    num_rows: int
    data_bytes: int
    """Of the file, without its footer."""

    def settled(self) -> pa.Table:
        """``SETTLED`` rows; the file's own rows are in this order, ``num_samples`` of each.

        Raises:
            ForeignFile: the list is damaged.
        """
        document = _parsed(self.settled_json, uri=self.uri)
        try:
            return table_of(earlier_versions.settled_entries(document), SETTLED)
        except (pa.ArrowException, TypeError, AttributeError, ValueError, KeyError):
            raise _foreign(self.uri, "its list of segments is damaged") from None


def describe(config: DatasetConfig, *, weights: str) -> Document:
    """The document under ``vidlake`` in every features file, and in ``_vidlake/config.json``."""
    return {
        **config.to_json(),
        "weights": weights,
        "fingerprint": config.fingerprint,
        "versions": {
            "vidlake": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("av", "torch", "torchvision", "timm", "pyarrow", "ray")},
        },
    }


def features_file(
    embedded: pa.Table | None, entries: Sequence[Settled], config: DatasetConfig, *, weights: str
) -> pa.Buffer:
    """A features file's bytes: the rows of ``EMBEDDED`` (``None``: no rows) and the ``SETTLED`` entries."""
    metadata = metadata_of(describe(config, weights=weights))
    schema = features_schema(config.model.dim, dtype=config.dtype, metadata=metadata)
    return file_of(schema.empty_table() if embedded is None else feature_table(embedded, schema=schema), entries)


def metadata_of(document: Document) -> dict[bytes, bytes]:
    """The document that ``describe`` made, as the metadata of a features file's schema."""
    return {_METADATA_KEY: json.dumps(document).encode()}


def file_of(rows: pa.Table, entries: Sequence[Settled]) -> pa.Buffer:
    """A features file's bytes: rows under their schema's metadata, and ``SETTLED`` entries in the same order."""
    sink = pa.BufferOutputStream()
    # DuckDB 2.0 reads byte-stream-split float32, but not float16.
    split = ["feature.list.element"] if _holds_float32(rows.schema) else False
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        use_dictionary=["video_id", "uri", "time_base"],
        write_statistics=[name for name in rows.schema.names if name != "feature"],
        use_byte_stream_split=split,
    ) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        # Beside the schema and not in it: Parquet keeps what is in the schema twice.
        writer.add_key_value_metadata({_SETTLED_KEY: json.dumps([entry.to_json() for entry in entries])})
    return sink.getvalue()


def read_footer(file: pa.NativeFile, *, uri: str) -> Footer:
    """What a features file says of itself; its rows are left alone.

    Raises:
        ForeignFile: it is not one of ours.
        OSError: the store failed.
    """
    metadata = _metadata(file, uri=uri)
    return Footer(
        uri=uri,
        settled_json=_value(metadata, _SETTLED_KEY, uri=uri),
        num_rows=metadata.num_rows,
        data_bytes=max(0, file.size() - metadata.serialized_size),
    )


def read_description(file: pa.NativeFile, *, uri: str) -> Document:
    """The document that ``describe`` made. Raises as ``read_footer`` does."""
    value = _value(_metadata(file, uri=uri), _METADATA_KEY, uri=uri)
    return document_of(_parsed(value, uri=uri), name="the configuration")


def read_rows(file: pa.NativeFile, spans: Sequence[tuple[int, int]], *, schema: pa.Schema, uri: str) -> list[pa.Table]:
    """The rows of each span, its first row and how many, of a features file in the columns of ``schema``.

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
        raise _foreign(uri, "its rows are damaged") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _foreign(uri, "its rows are damaged") from None
    num_left_out = np.cumsum(np.where(is_read, 0, sizes))
    return [
        table.slice(first - num_left_out[group], count)
        for (first, count), group in zip(spans, of_first.tolist(), strict=True)
    ]


def _metadata(file: pa.NativeFile, *, uri: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(file)
    except ValueError:  # pyarrow's errors are, but for those of the thrift inside
        raise _foreign(uri, "it is damaged, or no Parquet file") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _foreign(uri, "it is damaged") from None


def _value(metadata: pq.FileMetaData, key: bytes, *, uri: str) -> bytes:
    try:
        value: bytes = (metadata.metadata or {})[key]
    except KeyError:
        raise _foreign(uri, "it was not written by vidlake") from None
    return value


def _parsed(document: bytes, *, uri: str) -> object:
    try:
        return json.loads(document)
    except ValueError:
        raise _foreign(uri, "it is damaged") from None


def _holds_float32(schema: pa.Schema) -> bool:
    return bool(schema.field("feature").type.value_type == pa.float32())


def _foreign(uri: str, what: str) -> ForeignFile:
    return ForeignFile(f"{uri} cannot be among the features, for {what}: move it elsewhere and run the command again")
