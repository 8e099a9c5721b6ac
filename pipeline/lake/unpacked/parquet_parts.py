"""A features file, a row group at a time, as plain arrays."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.appended_file import foreign_file
from pipeline.lake.placed_rows import feature_matrix
from pipeline.lake.unpacked.feature_rows import RUN, FeatureRows, Uris, joined_runs, scales_of
from pipeline.records.ids import id_bytes

_COLUMNS = ("video_id", "uri", "segment", "epoch", "pts", "time_s", "end_time_s", "captured_at", "feature")


class FileParts:
    """The row groups of a features file, read one after another, and the runs and addresses of all that were read.

    Attributes:
        uri: of the file.
        num_rows: of the file.
    """

    def __init__(self, file: pa.NativeFile, *, uri: str, dim: int) -> None:
        """Read the footer.

        Raises:
            ForeignFile: the file is damaged, or its features have another length.
            OSError: the store failed.
        """
        self.uri = uri
        self._dim = dim
        self._numbers: dict[str, int] = {}
        self._runs: list[NDArray[np.void]] = []
        try:
            self._parquet = pq.ParquetFile(file, read_dictionary=["video_id", "uri"], pre_buffer=False)
        except (pa.ArrowException, ValueError):
            raise foreign_file(uri, "it is damaged") from None
        names = self._parquet.schema_arrow.names
        self._columns = [name for name in _COLUMNS if name in names]
        self._place = next(
            at for at in range(len(self._parquet.schema)) if self._parquet.schema.column(at).path == "video_id"
        )
        self.num_rows: int = self._parquet.metadata.num_rows

    def __iter__(self) -> Iterator[FeatureRows]:
        """The rows of each row group; their runs count from the beginning of the file.

        Raises:
            ForeignFile: the file is damaged.
            OSError: the store failed.
        """
        return self._parts(None)

    def of_videos(self, video_ids: Sequence[str]) -> Iterator[FeatureRows]:
        """The row groups that may hold rows of some videos, by what the file's footer says of them."""
        return self._parts(video_ids)

    def _parts(self, video_ids: Sequence[str] | None) -> Iterator[FeatureRows]:
        end = 0
        for group in range(self._parquet.metadata.num_row_groups):
            begin, end = end, end + self._parquet.metadata.row_group(group).num_rows
            if video_ids is not None and not self._may_hold(group, video_ids):
                continue
            try:
                part = part_of(self._parquet.read_row_group(group, self._columns), begin, self._numbers)
            except (pa.ArrowException, KeyError, ValueError, AttributeError):
                raise foreign_file(self.uri, "its rows are damaged") from None
            except OSError as error:
                if error.errno is not None:
                    raise
                raise foreign_file(self.uri, "its rows are damaged") from None
            if part.vectors.shape[1] != self._dim:
                raise foreign_file(self.uri, f"its features have {part.vectors.shape[1]} values, not {self._dim}")
            self._runs.append(part.runs)
            yield part

    def _may_hold(self, group: int, video_ids: Sequence[str]) -> bool:
        column = self._parquet.metadata.row_group(group).column(self._place)
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            return True
        return any(statistics.min <= video_id <= statistics.max for video_id in video_ids)

    def runs(self) -> NDArray[np.void]:
        """Of all rows that were read."""
        return joined_runs(self._runs)

    def uris(self) -> Uris:
        """Of all rows that were read."""
        return Uris.of(list(self._numbers))


def part_of(rows: pa.Table, begin: int, numbers: dict[str, int]) -> FeatureRows:
    """Rows in the columns of ``features`` as arrays.

    Args:
        rows: of which there may be none.
        begin: the number of the first of them.
        numbers: of the addresses that are known; further ones are added.

    Raises:
        ValueError, KeyError, AttributeError, pa.ArrowException: they are no such rows.
    """
    vectors = feature_matrix(rows["feature"]) if len(rows) else np.empty((0, _width(rows)), np.float32)
    times_s = rows["time_s"].to_numpy()
    return FeatureRows(
        vectors=vectors,
        scales=scales_of(vectors),
        pts=rows["pts"].to_numpy(),
        times_s=times_s,
        ends_s=rows["end_time_s"].to_numpy() if "end_time_s" in rows.column_names else times_s,
        captured_s=_captured(rows),
        runs=_runs(rows, begin, numbers),
        uris=Uris.of(list(numbers)),
    )


def _width(rows: pa.Table) -> int:
    width: int = rows.schema.field("feature").type.list_size
    return width


def _captured(rows: pa.Table) -> NDArray[np.float64]:
    if "captured_at" not in rows.column_names:
        return np.full(len(rows), np.nan)
    microseconds = rows["captured_at"].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).cast(pa.float64())
    seconds: NDArray[np.float64] = pc.fill_null(microseconds, np.nan).to_numpy() / 1e6
    return seconds


def _runs(rows: pa.Table, begin: int, numbers: dict[str, int]) -> NDArray[np.void]:
    if not len(rows):
        return np.empty(0, RUN)
    ids, id_codes = _coded(rows["video_id"])
    uris, uri_codes = _coded(rows["uri"])
    segments, epochs = (pc.fill_null(rows[name], -1).to_numpy() for name in ("segment", "epoch"))
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = np.logical_or.reduce(
        [values[1:] != values[:-1] for values in (id_codes, uri_codes, segments, epochs)]
    )
    firsts = np.flatnonzero(is_first)
    runs = np.zeros(len(firsts), RUN)
    runs["video_id"] = id_bytes(pa.chunked_array([ids]))[id_codes[firsts]]
    runs["uri"] = np.array([numbers.setdefault(uri, len(numbers)) for uri in uris.to_pylist()])[uri_codes[firsts]]
    runs["segment"], runs["epoch"] = segments[firsts], epochs[firsts]
    runs["first"] = firsts + begin
    runs["count"] = np.diff(firsts, append=len(rows))
    return runs


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """The distinct texts of a column, and which of them each row has."""
    is_coded = pa.types.is_dictionary(column.type)
    texts = (column.unify_dictionaries() if is_coded else column.dictionary_encode()).combine_chunks()
    if texts.null_count:
        raise ValueError("a row without a video")
    return texts.dictionary, texts.indices.to_numpy().astype(np.int64)
