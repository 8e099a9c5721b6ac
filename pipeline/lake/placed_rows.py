"""Reading rows of features from the places in the files where they lie, into arrays: no more is held than is asked for.

A row group is read, what is wanted of it is copied, and it is let go: so a video whose segments are spread over a
thousand files takes no more memory than one that lies in a single file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.appended_file import foreign_file
from pipeline.lake.files import DatasetFiles
from pipeline.records.tables import CAPTURED_AT

_KEYS = ["epoch", "pts", "time_s"]
ROW_KEY = np.dtype([("epoch", np.int32), ("pts", np.int64)])
ROW_BYTES = 24
"""Of a row in memory, beside its feature."""


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

    def stretch(self, begin: int, end: int) -> "PlacedRows":
        """The rows from ``begin`` to ``end - 1`` of them."""
        ends = np.cumsum(self.count)
        begins = ends - self.count
        is_in = (ends > begin) & (begins < end)
        skipped = np.maximum(0, begin - begins[is_in])
        return PlacedRows(
            names=self.names,
            file=self.file[is_in],
            first=self.first[is_in] + skipped,
            count=np.minimum(ends[is_in], end) - begins[is_in] - skipped,
        )

    def rows(self, numbers: NDArray[np.int64]) -> "PlacedRows":
        """Some of the rows, by their numbers, in this order: each is a span by itself."""
        ends = np.cumsum(self.count)
        span = np.searchsorted(ends, numbers, side="right")
        return PlacedRows(
            names=self.names,
            file=self.file[span],
            first=self.first[span] + numbers - (ends - self.count)[span],
            count=np.ones(len(numbers), np.int64),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRows:
    """Rows, N of them, in the order of their ``PlacedRows``."""

    epochs: NDArray[np.int32]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    captured_s: NDArray[np.float64]
    """When each was captured, in seconds since the Unix epoch; NaN: the rows do not say."""
    features: NDArray[np.float32]
    """``float32[N, D]``; ``[N, 0]`` where they were not asked for."""
    uris: tuple[str, ...]
    """Of the first row of each span."""

    @property
    def keys(self) -> NDArray[np.void]:
        """``ROW_KEY[N]``."""
        return row_keys(self.epochs, self.pts)

    def taken(self, at: "slice | NDArray[np.int64]") -> "ReadRows":
        """Some of them."""
        return ReadRows(
            epochs=self.epochs[at],
            pts=self.pts[at],
            times_s=self.times_s[at],
            captured_s=self.captured_s[at],
            features=self.features[at],
            uris=self.uris,
        )

    @classmethod
    def empty(cls, placed: PlacedRows, *, dim: int) -> "ReadRows":
        """Room for them."""
        num = len(placed)
        return cls(
            epochs=np.empty(num, np.int32),
            pts=np.empty(num, np.int64),
            times_s=np.empty(num, np.float64),
            captured_s=np.full(num, np.nan),
            features=np.empty((num, dim), np.float32),
            uris=(),
        )


def row_keys(epochs: NDArray[np.int32], pts: NDArray[np.int64]) -> NDArray[np.void]:
    """``ROW_KEY[N]``: what tells the rows of a video apart; it sorts as they are shown."""
    keys = np.empty(len(pts), ROW_KEY)
    keys["epoch"], keys["pts"] = epochs, pts
    return keys


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one row group holds of a span."""

    span: int
    """The number of the span."""
    source: slice
    """Where in the row group."""
    target: slice
    """Where among all rows that are wanted."""
    is_first: bool
    """Whether the span begins here."""


Take = Callable[[pa.Table, list[Piece]], None]


def read_placed(files: DatasetFiles, placed: PlacedRows, *, dim: int) -> ReadRows:
    """Read rows; ``dim`` is the length of their features, 0 where those are not wanted. Raises as ``read_groups``."""
    rows = ReadRows.empty(placed, dim=dim)
    uris = [""] * len(placed.count)
    columns = ["uri", *_KEYS, CAPTURED_AT, *(["feature"] if dim else [])]
    read_groups(files, placed, columns=columns, take=partial(_copy, rows=rows, uris=uris))
    return replace(rows, uris=tuple(uris))


def read_groups(files: DatasetFiles, placed: PlacedRows, *, columns: Sequence[str], take: Take) -> None:
    """Hand each row group with a row that is wanted to ``take``, file by file; ``uri`` as a dictionary.

    A file that the store fails on in the middle is read again from its beginning.

    Raises:
        ForeignFile: a file is damaged.
        StorageError: the store failed.
    """
    at = np.cumsum(placed.count) - placed.count
    order = np.lexsort((placed.first, placed.file))
    order = order[placed.count[order] > 0]
    edges = np.flatnonzero(np.diff(placed.file[order])) + 1
    for spans in np.split(order, edges) if len(order) else []:
        name = placed.names[placed.file[spans[0]]]
        source = _Spans(first=placed.first[spans], count=placed.count[spans], at=at[spans], number=spans)
        files.read(name, partial(_read, spans=source, columns=columns, take=take, uri=files.uri(name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spans:
    """The spans of one file, sorted by ``first``; ``at`` is where the rows of each are to go."""

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    at: NDArray[np.int64]
    number: NDArray[np.int64]

    def pieces(self, begin: int, end: int) -> Iterator[Piece]:
        """What the rows from ``begin`` to ``end - 1`` of the file hold of them."""
        low = int(np.searchsorted(self.first + self.count, begin, side="right"))
        high = int(np.searchsorted(self.first, end))
        for span in range(low, high):
            first, count, at = int(self.first[span]), int(self.count[span]), int(self.at[span])
            left, right = max(first, begin), min(first + count, end)
            yield Piece(
                span=int(self.number[span]),
                source=slice(left - begin, right - begin),
                target=slice(at + left - first, at + right - first),
                is_first=left == first,
            )


def _read(file: pa.NativeFile, *, spans: _Spans, columns: Sequence[str], take: Take, uri: str) -> None:
    try:
        parquet = pq.ParquetFile(file, read_dictionary=["uri"])
        end = 0
        for number in range(parquet.metadata.num_row_groups):
            begin, end = end, end + parquet.metadata.row_group(number).num_rows
            pieces = list(spans.pieces(begin, end))
            if pieces:
                take(parquet.read_row_group(number, columns), pieces)
        if end < spans.first[-1] + spans.count[-1]:
            raise foreign_file(uri, "its rows are damaged")
    except (pa.ArrowException, KeyError):
        raise foreign_file(uri, "its rows are damaged") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise foreign_file(uri, "its rows are damaged") from None


def _copy(group: pa.Table, pieces: list[Piece], *, rows: ReadRows, uris: list[str]) -> None:
    keys = [group[name].to_numpy() for name in _KEYS]
    features = feature_matrix(group["feature"]) if rows.features.shape[1] else None
    captured_s = _seconds(group[CAPTURED_AT]) if CAPTURED_AT in group.column_names else None
    for piece in pieces:
        rows.epochs[piece.target], rows.pts[piece.target], rows.times_s[piece.target] = (
            values[piece.source] for values in keys
        )
        if captured_s is not None:
            rows.captured_s[piece.target] = captured_s[piece.source]
        if features is not None:
            rows.features[piece.target] = features[piece.source]
        if piece.is_first:
            uris[piece.span] = group["uri"][piece.source.start].as_py()


def _seconds(moments: pa.ChunkedArray) -> NDArray[np.float64]:
    """Moments in seconds since the Unix epoch; NaN: there is none."""
    seconds: NDArray[np.float64] = pc.divide(moments.cast(pa.int64()).cast(pa.float64()), 1e6).to_numpy()
    return seconds


def feature_matrix(column: pa.ChunkedArray) -> NDArray[np.float32 | np.float16]:
    """The vectors of a column, ``[N, D]`` of the type that they are stored in, without a copy where it is one chunk."""
    parts = [chunk.flatten().to_numpy().reshape(len(chunk), chunk.type.list_size) for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
