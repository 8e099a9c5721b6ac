"""Small pictures of samples: their table, and how they travel between Ray's operators."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records.documents import Document
from pipeline.records.segments import Thumbnail
from pipeline.records.tables import Table, metadata_of

THUMBNAILS = "thumbnails"
MOST_THUMBNAIL_PX = 4096
JPEG_QUALITY = 85
_ESTIMATED_BYTES_A_PIXEL = 0.25
"""Of the square around a picture: JPEG of this quality takes less, but for noise."""

_PICTURE = [("width", pa.int32()), ("height", pa.int32()), ("jpeg", pa.large_binary())]
THUMBNAILS_FIELD = pa.field(THUMBNAILS, pa.list_(pa.struct(_PICTURE)))
"""The column of a decoded segment's thumbnails, one for each of its samples."""


def estimated_bytes(longest_px: int) -> int:
    """What a thumbnail whose longest side has this length takes, about, and rather more than less."""
    return max(1, int(longest_px * longest_px * _ESTIMATED_BYTES_A_PIXEL))


def thumbnails_table(longest_px: int, *, sample: str) -> Table:
    """A row a sample of a rule; ``jpeg`` is at most ``longest_px`` long in both directions."""
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("epoch", pa.int32()),
            ("pts", pa.int64()),
            ("time_s", pa.float64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("jpeg", pa.binary()),
        ],
        metadata=metadata_of(made_by(longest_px, sample=sample)),
    )
    return Table(name=THUMBNAILS, schema=schema, key=("video_id", "epoch", "pts"), growth="appended")


def made_by(longest_px: int, *, sample: str) -> Document:
    """How the rows of such a table are made."""
    return {"longest_px": longest_px, "sample": sample, "quality": JPEG_QUALITY}


def thumbnails_array(thumbnails: Sequence[Thumbnail]) -> pa.Array:
    """Those of one segment as the only value of their column."""
    values = [{"width": each.width, "height": each.height, "jpeg": each.jpeg} for each in thumbnails]
    return pa.array([values], THUMBNAILS_FIELD.type)


def thumbnail_rows(samples: pa.Table, *, schema: pa.Schema) -> pa.Table:
    """A row a sample, of decoded segments with their thumbnails, in their order."""
    counts = samples["num_samples"].to_numpy()
    owner = pa.array(np.repeat(np.arange(len(counts)), counts))
    pictures = pc.list_flatten(samples[THUMBNAILS])
    columns = {
        **{name: samples[name].take(owner) for name in ("video_id", "uri")},
        **{name: pc.list_flatten(samples[name]) for name in ("epoch", "pts", "time_s")},
        **{name: pc.struct_field(pictures, name) for name, _ in _PICTURE},
    }
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)
