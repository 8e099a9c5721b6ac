"""The thumbnails that a run has kept: found by video and pts, and read a handful at a time."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.appended_file import foreign_file
from pipeline.lake.dataset import Dataset
from pipeline.lake.model_folders import folder_above
from pipeline.records.thumbnails import THUMBNAILS

_KEY = np.dtype([("epoch", np.int32), ("pts", np.int64)])
_KEYS = pa.schema([("epoch", pa.int32()), ("pts", pa.int64()), ("row", pa.int64())])
_MOST_VIDEOS = 16
"""Whose thumbnails' places are remembered: a video of 100,000 samples takes some 3 MB."""
_AROUND = 32
"""Samples whose thumbnails are read with one that is asked for: a strip shows them side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where the thumbnails of one video lie."""

    names: tuple[str, ...]
    keys: NDArray[np.void]
    """``_KEY[N]``, sorted."""
    file: NDArray[np.int32]
    row: NDArray[np.int64]


Found = dict[tuple[int, int], bytes]
"""JPEG files by epoch and pts."""


class StoredPictures:
    """The table ``thumbnails`` of a dataset, or of the folder above it. Used by one thread at a time."""

    def __init__(self, dataset: Dataset) -> None:
        self._datasets = (dataset, Dataset.at(folder_above(dataset.store.uri)))
        self._places: OrderedDict[tuple[str, tuple[str, ...]], _Places] = OrderedDict()

    def around(self, video_id: str, *, epoch: int, pts: int) -> Found:
        """The thumbnail of a sample and of some beside it; empty: there is none.

        Raises:
            ForeignFile: a file is damaged.
            StorageError: the store failed.
        """
        for dataset in self._datasets:
            names = tuple(dataset.files.tables(THUMBNAILS))
            if names:
                places = self._places_of(dataset, names, video_id)
                at = int(np.searchsorted(places.keys, np.array((epoch, pts), _KEY)))
                if at < len(places.keys) and places.keys[at] == np.array((epoch, pts), _KEY):
                    return _read_around(dataset, places, at)
        return {}

    def _places_of(self, dataset: Dataset, names: tuple[str, ...], video_id: str) -> _Places:
        key = (video_id, names)
        places = self._places.pop(key, None) or _find(dataset, names, video_id)
        self._places[key] = places
        while len(self._places) > _MOST_VIDEOS:
            self._places.popitem(last=False)
        return places


def _find(dataset: Dataset, names: tuple[str, ...], video_id: str) -> _Places:
    keys, files, rows = [np.empty(0, _KEY)], [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for number, name in enumerate(names):
        table = dataset.files.read_ours(name, partial(_keys_of, video_id=video_id))
        found = np.empty(len(table), _KEY)
        found["epoch"], found["pts"] = table["epoch"].to_numpy(), table["pts"].to_numpy()
        keys.append(found)
        files.append(np.full(len(table), number, np.int32))
        rows.append(table["row"].to_numpy())
    all_keys = np.concatenate(keys)
    order = np.argsort(all_keys, kind="stable")
    return _Places(
        names=names, keys=all_keys[order], file=np.concatenate(files)[order], row=np.concatenate(rows)[order]
    )


def _keys_of(file: pa.NativeFile, *, video_id: str) -> pa.Table:
    """The keys of a video's rows, and the number of each row in the file; pictures are not read."""
    parquet = pq.ParquetFile(file)
    parts, first = [], 0
    column = parquet.schema_arrow.names.index("video_id")
    for group in range(parquet.metadata.num_row_groups):
        metadata = parquet.metadata.row_group(group)
        bounds = metadata.column(column).statistics
        if bounds is None or not bounds.has_min_max or bounds.min <= video_id <= bounds.max:
            table = parquet.read_row_group(group, columns=["video_id", "epoch", "pts"])
            table = table.append_column("row", pa.array(np.arange(first, first + len(table))))
            parts.append(table.filter(pc.equal(table["video_id"], video_id)).select(["epoch", "pts", "row"]))
        first += metadata.num_rows
    empty = pa.table(
        {"epoch": pa.array([], pa.int32()), "pts": pa.array([], pa.int64()), "row": pa.array([], pa.int64())}
    )
    return pa.concat_tables([empty, *parts])


def _read_around(dataset: Dataset, places: _Places, at: int) -> Found:
    """Of the samples beside it, those whose pictures lie in the same row group are read in one go."""
    near = np.arange(max(0, at - _AROUND), min(len(places.keys), at + _AROUND + 1))
    near = near[places.file[near] == places.file[at]]
    name = places.names[places.file[at]]
    rows, wanted = places.row[near], int(places.row[at])
    pictures = dataset.files.read_ours(
        name, partial(_pictures_of, rows=rows, wanted=wanted, uri=dataset.files.uri(name))
    )
    keys = {int(row): places.keys[place] for row, place in zip(rows, near, strict=True)}
    return {(int(keys[row]["epoch"]), int(keys[row]["pts"])): jpeg for row, jpeg in pictures.items()}


def _pictures_of(file: pa.NativeFile, *, rows: NDArray[np.int64], wanted: int, uri: str) -> dict[int, bytes]:
    parquet = pq.ParquetFile(file)
    first = 0
    for group in range(parquet.metadata.num_row_groups):
        num_rows = parquet.metadata.row_group(group).num_rows
        if first <= wanted < first + num_rows:
            column = parquet.read_row_group(group, columns=["jpeg"])["jpeg"]
            here = [int(row) for row in rows if first <= row < first + num_rows]
            return {row: column[row - first].as_py() for row in here}
        first += num_rows
    raise foreign_file(uri, "its rows are damaged")
