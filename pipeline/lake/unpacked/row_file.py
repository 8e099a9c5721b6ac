"""One features file unpacked: its arrays in a file of their own, filled a row group at a time, mapped into memory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.appended_file import foreign_file
from pipeline.lake.unpacked.array_file import BadArrayFile, open_arrays, written_arrays
from pipeline.lake.unpacked.feature_rows import RUN, FeatureRows, Uris
from pipeline.lake.unpacked.parquet_parts import FileParts

_OF_ROWS = {
    "pts": "int64",
    "times_s": "float64",
    "ends_s": "float64",
    "captured_s": "float64",
    "scales": "float32",
}


def row_bytes(*, dim: int, dtype: str) -> int:
    """What a row takes in such a file, about."""
    return dim * np.dtype(dtype).itemsize + sum(np.dtype(kind).itemsize for kind in _OF_ROWS.values())


def write_rows(path: Path, parts: FileParts, *, dim: int, dtype: str, temporary: Path) -> None:
    """Unpack a features file; it appears whole under its name, but the disk may not have it yet.

    Raises:
        ForeignFile: the features file is damaged.
        DiskRefused: the disk is full.
        OSError: the store failed.
    """
    with written_arrays(path, temporary=temporary) as writer:
        writer.declare("vectors", dtype, parts.num_rows, dim)
        for name, kind in _OF_ROWS.items():
            writer.declare(name, kind, parts.num_rows)
        done = 0
        for part in parts:
            for name in ("vectors", *_OF_ROWS):
                writer.fill(name, getattr(part, name), at=done)
            done += len(part)
        if done != parts.num_rows:
            raise foreign_file(parts.uri, "its rows are damaged")
        uris = parts.uris()
        writer.add("runs", parts.runs().view(np.uint8).reshape(-1, RUN.itemsize))
        writer.add("uri_ends", uris.ends)
        writer.add("uri_text", uris.text)
        writer.close({}, is_awaited=False)


def open_rows(path: Path, *, dim: int, dtype: str) -> FeatureRows:
    """Map a file; nothing of its vectors is read yet.

    Raises:
        BadArrayFile: it is not one of ours, or not whole, or of other features.
        OSError: there is none, or it cannot be read.
    """
    _, arrays = open_arrays(path)
    try:
        rows = FeatureRows(
            vectors=_checked(arrays, "vectors", dtype),
            pts=_checked(arrays, "pts", "int64"),
            times_s=_checked(arrays, "times_s", "float64"),
            ends_s=_checked(arrays, "ends_s", "float64"),
            captured_s=_checked(arrays, "captured_s", "float64"),
            scales=_checked(arrays, "scales", "float32"),
            runs=np.ascontiguousarray(_checked(arrays, "runs", "uint8")).reshape(-1).view(RUN),
            uris=Uris(ends=_checked(arrays, "uri_ends", "int64"), text=_checked(arrays, "uri_text", "uint8")),
        )
    except (KeyError, ValueError):
        raise BadArrayFile from None
    if rows.vectors.shape != (len(rows), dim) or not _is_sound(rows):
        raise BadArrayFile
    return rows


def _checked(arrays: Mapping[str, NDArray[Any]], name: str, dtype: str) -> NDArray[Any]:
    array = arrays[name]
    if array.dtype.name != dtype:
        raise BadArrayFile
    return array


def _is_sound(rows: FeatureRows) -> bool:
    """Whether the small arrays fit the rows: whoever reads by them relies on that."""
    if any(getattr(rows, name).shape != (len(rows),) for name in _OF_ROWS):
        return False
    runs, ends = rows.runs, rows.uris.ends
    follows = np.append(0, np.cumsum(runs["count"]))
    has_uris = not len(runs) or (runs["uri"].min() >= 0 and runs["uri"].max() < len(ends))
    fits_text = (ends[-1] if len(ends) else 0) == len(rows.uris.text) and (not len(ends) or ends[0] >= 0)
    return bool(
        has_uris
        and fits_text
        and (np.diff(ends) >= 0).all()
        and (runs["count"] > 0).all()
        and follows[-1] == len(rows)
        and np.array_equal(follows[:-1], runs["first"])
    )
