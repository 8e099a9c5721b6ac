"""Features files: a row a sample, and a footer that lists the segments which the file settles, with or without rows."""

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__
from pipeline.config import DatasetConfig
from pipeline.errors import RunError
from pipeline.records import OK
from pipeline.schemas import SETTLED, feature_table, features_schema, table_of

_METADATA_KEY = b"vidlake"
_SETTLED_KEY = b"vidlake.settled"
_ROW_GROUP_ROWS = 1024


class ForeignFile(RunError):
    """A file in a folder of the dataset that is not ours, or no longer whole."""


def describe(config: DatasetConfig, *, weights: str) -> dict[str, Any]:
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
    embedded: pa.Table | None, entries: Sequence[dict[str, Any]], config: DatasetConfig, *, weights: str
) -> pa.Buffer:
    """A features file's bytes: the rows of ``EMBEDDED`` (``None``: no rows) and the ``SETTLED`` entries."""
    metadata = {_METADATA_KEY: json.dumps(describe(config, weights=weights)).encode()}
    schema = features_schema(config.model.dim, dtype=config.dtype, metadata=metadata)
    rows = schema.empty_table() if embedded is None else feature_table(embedded, schema=schema)
    sink = pa.BufferOutputStream()
    options: dict[str, Any] = {
        "compression": "zstd",
        "use_dictionary": ["video_id", "uri", "time_base"],
        "write_statistics": [name for name in schema.names if name != "feature"],
        # DuckDB 2.0 reads byte-stream-split float32, but not float16.
        "use_byte_stream_split": ["feature.list.element"] if config.dtype == "float32" else False,
    }
    with pq.ParquetWriter(sink, schema, **options) as writer:
        writer.write_table(rows, row_group_size=_ROW_GROUP_ROWS)
        # Beside the schema and not in it: Parquet keeps what is in the schema twice.
        writer.add_key_value_metadata({_SETTLED_KEY: json.dumps([_entry(entry) for entry in entries])})
    return sink.getvalue()


def read_settled(file: pa.NativeFile, *, uri: str) -> pa.Table:
    """What a features file settles, as ``SETTLED`` rows, from its footer alone.

    Raises:
        ForeignFile: it is not one of ours.
        OSError: the store failed.
    """
    document = _value(file, _SETTLED_KEY, uri=uri)
    try:
        return table_of(document, SETTLED)
    except (pa.ArrowException, TypeError, AttributeError, ValueError):
        raise _foreign(uri, "its list of segments is damaged") from None


def read_description(file: pa.NativeFile, *, uri: str) -> Any:
    """The document that ``describe`` made. Raises as ``read_settled`` does."""
    return _value(file, _METADATA_KEY, uri=uri)


def _value(file: pa.NativeFile, key: bytes, *, uri: str) -> Any:
    try:
        metadata = pq.read_metadata(file).metadata or {}
        return json.loads(metadata[key])
    except KeyError:
        raise _foreign(uri, "it was not written by vidlake") from None
    except ValueError:  # pyarrow's errors are, but for those of the thrift inside
        raise _foreign(uri, "it is damaged, or no Parquet file") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _foreign(uri, "it is damaged") from None


def _foreign(uri: str, what: str) -> ForeignFile:
    return ForeignFile(f"{uri} cannot be among the features, for {what}: move it elsewhere and run the command again")


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the footer; ``start_s`` and ``end_s`` tell what is missing, so a segment that is whole has none."""
    whole = {"start_s": None, "end_s": None} if entry["outcome"] == OK else {}
    return {name: {**entry, **whole}[name] for name in SETTLED.names}
