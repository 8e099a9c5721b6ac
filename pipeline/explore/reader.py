"""``pipeline.read``: a dataset in the form in which people already work."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.explore.numbered_rows import open_numbered_rows
from pipeline.explore.queries import Scope, Value
from pipeline.explore.videos import Videos, videos_schema, whole_parts
from pipeline.lake.dataset import Dataset
from pipeline.lake.model_folders import existing_dataset
from pipeline.lake.placed_rows import feature_matrix
from pipeline.records.ids import ID_BYTES, find_places, id_bytes
from pipeline.records.periods import Period
from pipeline.records.tables import QUARANTINE

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from pipeline.models.row_tensors import RowTensors

_KEY = ("video_id", "epoch", "pts")


class LakeReader:
    """The rows of the current videos of one dataset; a row group without any that is wanted is not read.

        lake = pipeline.read("features-of-cats", where={"camera": "cam2"}, since="2026-11-01")
        lake.to_pandas()

    Attributes:
        uri: of the dataset.
    """

    def __init__(self, dataset: Dataset, scope: Scope) -> None:
        """See ``at``."""
        self.uri = dataset.store.uri
        self._dataset = dataset
        self._scope = scope
        self._videos = Videos(dataset)
        self._schema: pa.Schema = dataset.existing().features.schema

    @classmethod
    def at(
        cls,
        uri: str,
        *,
        where: str | Mapping[str, Value] | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Self:
        """The dataset at ``uri``, or a part of it.

        Args:
            uri: of the dataset.
            where: a SQL condition over the table ``videos``, or the values that columns of it must have.
            since: an ISO 8601 time: only what was captured from then on.
            until: only what was captured before.

        Raises:
            UsageError: there is no dataset, or a folder of several; or the condition or a time is none.
        """
        sql, equal = (where, {}) if isinstance(where, str) else (None, where or {})
        scope = Scope(where=sql, equal=equal, period=Period.parse(since, until))
        return cls(existing_dataset(uri, command="search"), scope)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The table ``features``, a row a sample, in all its columns or in some."""
        names = self._schema.names if columns is None else list(columns)
        parts = [part.select(names) for part in self.batches(columns)]
        schema = pa.schema([self._schema.field(name) for name in names], metadata=self._schema.metadata)
        return pa.concat_tables([schema.empty_table(), *parts])

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The same, a file at a time: for datasets that do not fit into memory.

        Raises:
            UsageError: there is no such column.
            ForeignFile, StorageError: a file is damaged, or the store failed.
        """
        names = self._schema.names if columns is None else list(columns)
        missing = [name for name in names if name not in self._schema.names]
        if missing:
            raise UsageError(f"features has no column {missing[0]!r}; it has {', '.join(self._schema.names)}")
        ids = self._videos.ids_in(self._scope)
        for name in self._dataset.features.names():
            yield self._dataset.files.read_ours(name, partial(self._read, names=names, ids=ids))

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """The table as a data frame; a feature is an array."""
        return self.to_arrow(columns).to_pandas()

    def to_huggingface(self, columns: Sequence[str] | None = None) -> "datasets.Dataset":
        """The table as a ``datasets.Dataset``, in memory."""
        import datasets

        return datasets.Dataset(datasets.table.InMemoryTable(self.to_arrow(columns)))

    def to_torch(self) -> "RowTensors":
        """A map-style dataset, for ``torch.utils.data.DataLoader``: ``[i]`` is a dict, ``feature`` in it a tensor.

        It reads the dataset's unpacked copy, which is made where it is not there yet, and takes no memory.
        """
        from pipeline.models.row_tensors import RowTensors

        return RowTensors(partial(open_numbered_rows, self.uri, self._scope))

    def features(self, video_id: str) -> NDArray[np.float32]:
        """``float32[T, D]``: those of one video, in the order of (``epoch``, ``pts``).

        Raises:
            UsageError: it has no row here.
        """
        wanted = np.array([video_id.encode()], f"S{ID_BYTES}")
        names = [*_KEY, "feature"]
        parts = [
            self._dataset.files.read_ours(name, partial(self._read, names=names, ids=wanted))
            for name in self._dataset.features.names()
        ]
        rows = pa.concat_tables(parts) if parts else self._schema.empty_table().select(names)
        if not len(rows):
            raise UsageError(f"{self.uri} has no row of a video {video_id[:100]!r}")
        order = np.lexsort((rows["pts"].to_numpy(), rows["epoch"].to_numpy()))
        vectors: NDArray[np.float32] = feature_matrix(rows["feature"])[order].astype(np.float32)
        return vectors

    @property
    def videos(self) -> pa.Table:
        """A row a video, with the further columns of its manifest."""
        return pa.concat_tables(whole_parts(self._dataset.files, videos_schema(self._dataset.files)))

    @cached_property
    def quarantine(self) -> pa.Table:
        """A row a failure."""
        files = self._dataset.files
        parts = [files.read_ours(name, lambda file: pq.ParquetFile(file).read()) for name in files.tables("quarantine")]
        return pa.concat_tables([QUARANTINE.schema.empty_table(), *(part.cast(QUARANTINE.schema) for part in parts)])

    def _read(self, file: pa.NativeFile, *, names: Sequence[str], ids: NDArray[np.bytes_] | None) -> pa.Table:
        parquet = pq.ParquetFile(file)
        there = parquet.schema_arrow.names
        needed = [name for name in dict.fromkeys([*names, "video_id", "time_s", "captured_at"]) if name in there]
        groups = [at for at in range(parquet.metadata.num_row_groups) if _may_hold(parquet, at, ids)]
        part = parquet.read_row_groups(groups, needed)
        part = part.filter(pa.array(self._is_in(part, ids)))
        columns = [
            part[name] if name in there else pa.nulls(len(part), self._schema.field(name).type) for name in names
        ]
        return pa.Table.from_arrays(columns, schema=pa.schema([self._schema.field(name) for name in names]))

    def _is_in(self, part: pa.Table, ids: NDArray[np.bytes_] | None) -> NDArray[np.bool_]:
        own, known = id_bytes(part["video_id"]), self._videos.known()
        is_in = known.are_current(own)
        if ids is not None:
            is_in &= find_places(ids, own) >= 0
        if not self._scope.period.is_open:
            moments_s = known.recorded_of(own) + part["time_s"].to_numpy()
            if "captured_at" in part.column_names:
                captured = pc.fill_null(part["captured_at"].cast(pa.int64()).cast(pa.float64()), np.nan).to_numpy()
                moments_s = np.where(np.isnan(captured), moments_s, captured / 1e6)
            is_in &= self._scope.period.holds(moments_s)
        return is_in


def _may_hold(parquet: pq.ParquetFile, group: int, ids: NDArray[np.bytes_] | None) -> bool:
    if ids is None:
        return True
    place = next(at for at in range(len(parquet.schema)) if parquet.schema.column(at).path == "video_id")
    statistics = parquet.metadata.row_group(group).column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    least, most = (np.array([bound.encode()], f"S{ID_BYTES}") for bound in (statistics.min, statistics.max))
    return bool(np.searchsorted(ids, least)[0] < np.searchsorted(ids, most, side="right")[0])
