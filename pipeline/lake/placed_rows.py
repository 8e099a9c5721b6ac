"""Reading rows of features from the places in the files where they lie, into arrays: no more is held than is asked for.

A row group is read, what is wanted of it is copied, and it is let go: so a video whose segments are spread over a
thousand files takes no more memory than one that lies in a single file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.appended_file import foreign_file
from pipeline.lake.files import DatasetFiles

_KEYS = ["epoch", "pts", "time_s"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRows:
    """Where some rows lie: spans of files, in the order in which the rows are wanted."""

    names: tuple[str, ...]
    """The files."""
    file: NDArray[np.int32]
    """Which of ``names`` holds each span."""
    first: NDArray[np.int64]
    """The first row of each span there."""
    count: NDArray[np.int64]

    def __len__(self) -> int:
        """How many rows they are."""
        return int(self.count.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """Rows, N of them, in the order of their ``PlacedRows``."""

    epochs: NDArray[np.int32]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    features: NDArray[np.float32]
    """``float32[N, D]``; ``[N, 0]`` where they were not asked for."""
    uris: tuple[str, ...]
    """Of the first row of each span."""

    @classmethod
    def empty(cls, placed: PlacedRows, *, dim: int) -> "ReadRows":
        """Room for them."""
        num = len(placed)
        return cls(
            epochs=np.empty(num, np.int32),
            pts=np.empty(num, np.int64),
            times_s=np.empty(num, np.float64),
            features=np.empty((num, dim), np.float32),
            uris=(),
        )


def read_placed(files: DatasetFiles, placed: PlacedRows, *, dim: int) -> ReadRows:
    """Read rows; ``dim`` is the length of their features, 0 where those are not wanted.

    Raises:
        ForeignFile: a file is damaged.
        StorageError: the store failed.
    """
    rows = ReadRows.empty(placed, dim=dim)
    uris = [""] * len(placed.count)
    at = np.cumsum(placed.count) - placed.count
    order = np.lexsort((placed.first, placed.file))
    order = order[placed.count[order] > 0]
    edges = np.flatnonzero(np.diff(placed.file[order])) + 1
    for spans in np.split(order, edges) if len(order) else []:
        name = placed.names[placed.file[spans[0]]]
        source = _Spans(first=placed.first[spans], count=placed.count[spans], at=at[spans], number=spans)
        files.read(name, partial(_copy, spans=source, rows=rows, uris=uris, uri=files.uri(name)))
    return ReadRows(epochs=rows.epochs, pts=rows.pts, times_s=rows.times_s, features=rows.features, uris=tuple(uris))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spans:
    """The spans of one file, sorted by ``first``; ``at`` is where the rows of each are to go."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    at: NDArray[np.int64]
    number: NDArray[np.int64]

    def pieces(self, begin: int, end: int) -> Iterator[tuple[int, slice, slice, bool]]:
        """What the rows from ``begin`` to ``end - 1`` of the file hold of them.

        Each the number of the span, where it lies among these rows, where it goes, and whether it begins here.
        """
        low = int(np.searchsorted(self.first + self.count, begin, side="right"))
        high = int(np.searchsorted(self.first, end))
        for span in range(low, high):
            first, count, at = int(self.first[span]), int(self.count[span]), int(self.at[span])
            left, right = max(first, begin), min(first + count, end)
            target = slice(at + left - first, at + right - first)
            yield int(self.number[span]), slice(left - begin, right - begin), target, left == first


def _copy(file: pa.NativeFile, spans: _Spans, rows: ReadRows, uris: list[str], *, uri: str) -> None:
    try:
        parquet = pq.ParquetFile(file, read_dictionary=["uri"])
        columns = ["uri", *_KEYS, *(["feature"] if rows.features.shape[1] else [])]
        end = 0
        for group in range(parquet.metadata.num_row_groups):
            begin, end = end, end + parquet.metadata.row_group(group).num_rows
            pieces = list(spans.pieces(begin, end))
            if pieces:
                _take(parquet.read_row_group(group, columns), pieces, rows, uris)
        if end < spans.first[-1] + spans.count[-1]:
            raise ValueError("it is too short")
    except (pa.ArrowException, ValueError, IndexError, KeyError):
        raise foreign_file(uri, "its rows are damaged") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise foreign_file(uri, "its rows are damaged") from None


def _take(group: pa.Table, pieces: list[tuple[int, slice, slice, bool]], rows: ReadRows, uris: list[str]) -> None:
    keys = [group[name].to_numpy() for name in _KEYS]
    features = feature_matrix(group["feature"]) if rows.features.shape[1] else None
    for span, source, target, is_first in pieces:
        rows.epochs[target], rows.pts[target], rows.times_s[target] = (values[source] for values in keys)
        if features is not None:
            rows.features[target] = features[source]
        if is_first:
            uris[span] = group["uri"][source.start].as_py()


def feature_matrix(column: pa.ChunkedArray) -> NDArray[np.float32 | np.float16]:
    """The vectors of a column, ``[N, D]`` of the type that they are stored in, without a copy where it is one chunk."""
    parts = [chunk.flatten().to_numpy().reshape(len(chunk), chunk.type.list_size) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
