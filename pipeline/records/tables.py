"""The tables of a dataset, each described once: its name, its columns, its key, and how its files come and go."""

import json
import re
from dataclasses import dataclass
from typing import Literal, get_args

import pyarrow as pa

from pipeline.records.documents import Document
from pipeline.records.model_info import FeatureType

Growth = Literal["appended", "derived"]
GROWTHS: tuple[Growth, ...] = get_args(Growth)
METADATA_KEY = b"vidlake"
MOMENT = pa.timestamp("us", tz="UTC")
"""The type of a moment of the wall clock."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table: a folder of Parquet files with the same columns.

    A declaration is all that a table needs: whatever is declared is published under the lease of a run, exactly once,
    shown by ``status`` and taken along by ``compact``.
    """

    name: str
    """Of the folder."""
    schema: pa.Schema
    """Of every file; its metadata under ``vidlake`` say how the rows were made."""
    key: tuple[str, ...]
    """The columns that tell a row from all others."""
    growth: Growth
    """``appended``: a file stays, and its footer lists the segments or videos that it settles.

    ``derived``: the rows follow from other files, and each file is replaced whole.
    """

    def __post_init__(self) -> None:
        if not is_table_name(self.name):
            raise ValueError(f"a table cannot be called {self.name!r}: use small letters, digits and _")
        missing = [name for name in self.key if name not in self.schema.names]
        if missing or not self.key:
            raise ValueError(f"the key of {self.name} must be columns of it: {', '.join(missing) or 'there is none'}")
        if self.growth == "appended" and "video_id" not in self.schema.names:
            raise ValueError(f"{self.name} settles segments of videos, so it needs a column video_id")


def is_table_name(name: str) -> bool:
    """Whether a table may be called so: it is a folder's name on every kind of store."""
    return _NAME.fullmatch(name) is not None


def metadata_of(document: Document) -> dict[bytes, bytes]:
    """A document that says how rows were made, as the metadata of their schema."""
    return {METADATA_KEY: json.dumps(document).encode()}


def features_table(
    dim: int,
    *,
    dtype: FeatureType,
    metadata: dict[bytes, bytes] | None = None,
    has_windows: bool = False,
    has_captured_at: bool = True,
) -> Table:
    """A row a sample; with windows, a row a window, with the columns of its first sample and ``_WINDOW``.

    ``has_captured_at``: datasets of earlier versions lack the column.
    """
    value = pa.float16() if dtype == "float16" else pa.float32()
    windows, moments = _WINDOW if has_windows else [], _CAPTURED if has_captured_at else []
    return _samples_table(*windows, ("feature", pa.list_(value, dim)), *moments, metadata=metadata)


def inputs_table(
    sample_bytes: int, *, metadata: dict[bytes, bytes] | None = None, has_captured_at: bool = True
) -> Table:
    """A row a sample, as the model takes it: ``pixels`` is ``uint8[H, W, 3]``."""
    moments = _CAPTURED if has_captured_at else []
    return _samples_table((PIXELS, pa.binary(sample_bytes)), *moments, metadata=metadata)


FEATURES = "features"
PIXELS = "pixels"
CAPTURED_AT = "captured_at"
_SAMPLE = [
    ("video_id", pa.string()),
    ("uri", pa.string()),
    ("segment", pa.int32()),
    ("epoch", pa.int32()),
    ("pts", pa.int64()),
    ("time_base", pa.string()),
    ("time_s", pa.float64()),
    ("is_keyframe", pa.bool_()),
    ("is_corrupt", pa.bool_()),
]

_CAPTURED = [(CAPTURED_AT, MOMENT)]
"""The wall clock of a sample: of a stream, its slot's; null where a file does not say when it was recorded."""

_WINDOW = [("end_pts", pa.int64()), ("end_time_s", pa.float64()), ("num_frames", pa.int32())]
"""When a window's last sample is shown, and how many samples it really has."""


def _samples_table(*content: tuple[str, pa.DataType], metadata: dict[bytes, bytes] | None) -> Table:
    schema = pa.schema([*_SAMPLE, *content], metadata=metadata)
    return Table(name=FEATURES, schema=schema, key=("video_id", "epoch", "pts"), growth="appended")


QUARANTINE = Table(
    name="quarantine",
    schema=pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("segment", pa.int32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("reason", pa.string()),
            ("detail", pa.string()),
            ("attempts", pa.int32()),
        ]
    ),
    key=("video_id", "segment"),
    growth="derived",
)
"""A row a failure; ``segment`` is null where a whole video failed."""

VIDEOS = Table(
    name="videos",
    schema=pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("size_bytes", pa.int64()),
            ("etag", pa.string()),
            ("mtime", pa.timestamp("us", tz="UTC")),
            ("stream_index", pa.int32()),
            ("start_pts", pa.int64()),
            ("creation_time", pa.string()),
            ("is_current", pa.bool_()),
            ("container", pa.string()),
            ("codec", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("rotation", pa.int32()),
            ("pix_fmt", pa.string()),
            ("fps", pa.float64()),
            ("duration_s", pa.float64()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("num_segments", pa.int32()),
            ("num_samples", pa.int32()),
            ("status", pa.string()),
            ("stream", pa.string()),
            ("captured_from", MOMENT),
            ("captured_to", MOMENT),
        ]
    ),
    key=("video_id",),
    growth="derived",
)
"""A row a video, or a session of a ``stream``; the further columns of its manifest follow."""

OWN_TABLES = frozenset({FEATURES, QUARANTINE.name, VIDEOS.name})
"""Every dataset has these; a side table is called otherwise."""
