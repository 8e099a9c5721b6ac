"""The kept pictures, read batch by batch: all of them held where they are few, else some at a time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.records.tables import PIXELS

_HELD_BYTES = 512 << 20
_READ_BYTES = 128 << 20
"""Of two at a time: one that is being trained on, and the next one on its way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where N pictures lie: row ``row[k]`` of ``files[file[k]]``."""

    files: tuple[str, ...]
    file: NDArray[np.int32]
    row: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.file)

    def take(self, at: NDArray[np.int64]) -> "Places":
        """Some of them."""
        return Places(files=self.files, file=self.file[at], row=self.row[at])


class Pictures:
    """The pictures of a dataset of inputs at some places; a batch of them is a list of numbers of places."""

    def __init__(self, dataset: Dataset, places: Places) -> None:
        self._dataset = dataset
        self._places = places
        info = dataset.existing()
        self._schema = info.features.schema
        self._shape = (*info.config.model.preprocessing.crop_px, 3)
        self._sample_bytes = info.config.model.preprocessing.sample_bytes
        self._held: NDArray[np.uint8] | None = None

    @property
    def window(self) -> int:
        """How many pictures are shuffled among each other."""
        return max(len(self._places), 1) if self._are_few else max(1, _READ_BYTES // self._sample_bytes)

    def batches(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Each batch with its pictures, ``uint8[B, H, W, 3]``.

        Raises:
            StorageError: the store failed.
        """
        if self._are_few:
            if self._held is None:
                self._held = self._read(np.arange(len(self._places)))
            for batch in batches:
                yield batch, self._held[batch]
            return
        groups = list(self._groups(batches))
        with ThreadPoolExecutor(1, thread_name_prefix="pictures") as pool:
            following = [pool.submit(self._read_group, group) for group in groups[:1]]
            for at, group in enumerate(groups):
                numbers, pixels = following.pop().result()
                following += [pool.submit(self._read_group, other) for other in groups[at + 1 : at + 2]]
                for batch in group:
                    yield batch, pixels[np.searchsorted(numbers, batch)]

    @property
    def _are_few(self) -> bool:
        return len(self._places) * self._sample_bytes <= _HELD_BYTES

    def _groups(self, batches: Sequence[NDArray[np.int64]]) -> Iterator[list[NDArray[np.int64]]]:
        """Batches that are read together."""
        group: list[NDArray[np.int64]] = []
        for batch in batches:
            if group and (sum(map(len, group)) + len(batch)) > self.window:
                yield group
                group = []
            group.append(batch)
        if group:
            yield group

    def _read_group(self, group: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        numbers = np.unique(np.concatenate(group))
        return numbers, self._read(numbers)

    def _read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The pictures at places of these ``numbers``, ``uint8[N, H, W, 3]``, in their order."""
        pixels = np.empty((len(numbers), *self._shape), np.uint8)
        places = self._places.take(numbers)
        by_place = np.lexsort((places.row, places.file))
        for of_file in np.split(by_place, np.flatnonzero(np.diff(places.file[by_place])) + 1):
            if len(of_file):
                name, done = places.files[places.file[of_file[0]]], 0
                spans = spans_of(places.row[of_file].astype(np.int64))
                for table in self._dataset.features.rows(name, spans, schema=self._schema):
                    pixels[of_file[done : done + len(table)]] = _pixels(table, self._shape)
                    done += len(table)
        return pixels


def spans_of(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Rows that increase, as stretches without a gap: the first row of each, and how many."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    starts = np.concatenate([[0], edges]).astype(np.int64)
    lengths = np.diff(np.append(starts, len(rows)))
    return list(zip(rows[starts].tolist(), lengths.tolist(), strict=True)) if len(rows) else []


def _pixels(table: pa.Table, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    column = table[PIXELS].combine_chunks()
    array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    pixels = np.frombuffer(array.buffers()[1], np.uint8, len(array) * width, array.offset * width)
    return pixels.reshape(len(array), *shape)
