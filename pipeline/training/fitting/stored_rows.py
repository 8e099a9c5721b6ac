"""Vectors in a file of a local disk, read as they are needed.

The file is not mapped: pages of it that were once touched would count as memory of this process for as long as the
training lasts, and many programs that watch memory believe it.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StorageError

Features = NDArray[np.float32]

_IN_MEMORY_BYTES = 1 << 28
"""A file of this size or less is read once."""


class StoredRows:
    """Rows of float32, one after another.

    Attributes:
        shape: how many there are, and how long each is.
    """

    def __init__(self, path: Path, *, dim: int, in_memory_bytes: int = _IN_MEMORY_BYTES) -> None:
        size = os.path.getsize(path)
        self._path = path
        self._row_bytes = 4 * max(1, dim)
        self.shape: tuple[int, int] = (size // self._row_bytes, dim)
        self._rows = self._read(0, self.shape[0]) if size <= in_memory_bytes else None

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, places: NDArray[np.int64]) -> Features:
        """The rows at these places, in their order: ``float32[len(places), D]``."""
        if self._rows is not None:
            taken: Features = self._rows[places]
            return taken
        taken = np.empty((len(places), self.shape[1]), np.float32)
        order = np.argsort(places, kind="stable")
        with open(self._path, "rb", buffering=0) as file:
            for at, place in zip(order.tolist(), places[order].tolist(), strict=True):
                if os.preadv(file.fileno(), [taken[at].data], place * self._row_bytes) != self._row_bytes:
                    raise self._cut_short()
        return taken

    def span(self, begin: int, end: int) -> Features:
        """The rows from one place up to another: ``float32[end - begin, D]``."""
        return self._read(begin, end) if self._rows is None else self._rows[begin:end]

    def _read(self, begin: int, end: int) -> Features:
        count = (end - begin) * self.shape[1]
        numbers = np.fromfile(self._path, np.float32, count=count, offset=begin * self._row_bytes)
        if len(numbers) != count:
            raise self._cut_short()
        return numbers.reshape(end - begin, self.shape[1])

    def _cut_short(self) -> StorageError:
        return StorageError(f"{self._path}: somebody has changed it while training went on; run the same command again")
