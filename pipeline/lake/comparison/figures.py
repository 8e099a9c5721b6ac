"""How far apart features are: cosines and differences, added up in memory that does not grow with their number."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 4_096
_FEW = 1 << 16
"""So many cosines are kept as they are; of more, only how many fall into each bin, and their sum."""
_BINS_PER_UNIT = 1 << 20
_NO_BIN = np.zeros(0)


class Cosines:
    """Cosines as they come: the least, and the median, which with very many is right to a millionth."""

    def __init__(self) -> None:
        self.num = 0
        self.least = np.inf
        self._few: list[NDArray[np.float64]] = []
        self._counts: NDArray[np.float64] = _NO_BIN
        self._sums: NDArray[np.float64] = _NO_BIN

    def add(self, values: NDArray[np.float64]) -> None:
        """Count in cosines, from -1 to 1."""
        if not len(values):
            return
        self.num += len(values)
        self.least = min(self.least, float(values.min()))
        self._few.append(values)
        if self.num > _FEW:
            self._sort_into_bins()

    @property
    def median(self) -> float:
        """The median of at least one: of an even number the mean of the middle two."""
        low, high = (self.num - 1) // 2, self.num // 2
        if self.num <= _FEW:
            return float(np.median(np.concatenate(self._few)))
        ends = np.cumsum(self._counts)
        middle = np.searchsorted(ends, np.array([low, high]), side="right")
        return float((self._sums[middle] / self._counts[middle]).mean())

    def _sort_into_bins(self) -> None:
        if not len(self._counts):
            self._counts, self._sums = np.zeros(2 * _BINS_PER_UNIT + 1), np.zeros(2 * _BINS_PER_UNIT + 1)
        values = np.concatenate(self._few)
        self._few.clear()
        bins, place = np.unique(((values + 1) * _BINS_PER_UNIT).astype(np.int64), return_inverse=True)
        self._counts[bins] += np.bincount(place)
        self._sums[bins] += np.bincount(place, values)


class Figures:
    """What two datasets, or their rows of one video, come to."""

    def __init__(self) -> None:
        self.only_a = 0
        self.only_b = 0
        self._cosines = Cosines()
        self._largest = 0.0

    def add(self, cosines: NDArray[np.float64], largest: float) -> None:
        """Count in rows that were compared already."""
        self._cosines.add(cosines)
        self._largest = max(self._largest, largest)

    @property
    def num_rows(self) -> int:
        """Rows that are in both."""
        return self._cosines.num

    @property
    def worst_cosine(self) -> float | None:
        """``None`` where no row is in both, as of all of them."""
        return self._cosines.least if self.num_rows else None

    @property
    def median_cosine(self) -> float | None:
        """Of the rows that are in both."""
        return self._cosines.median if self.num_rows else None

    @property
    def largest_difference(self) -> float | None:
        """Between two values in the same place; infinite where one of them is no number."""
        return self._largest if self.num_rows else None


def compare(a: NDArray[np.float32], b: NDArray[np.float32], *totals: Figures) -> None:
    """Compare the rows of two ``float32[N, D]``, one by one, and count them in everywhere."""
    for cosines, largest in _compared(a, b):
        for figures in totals:
            figures.add(cosines, largest)


def _compared(a: NDArray[np.float32], b: NDArray[np.float32]) -> Iterator[tuple[NDArray[np.float64], float]]:
    """The cosines of some rows at a time, and the largest difference in them."""
    for at in range(0, len(a), _ROWS_AT_ONCE):
        x, y = (side[at : at + _ROWS_AT_ONCE].astype(np.float64) for side in (a, b))
        with np.errstate(invalid="ignore", over="ignore"):
            is_same = (x == y) | (np.isnan(x) & np.isnan(y))
            difference = np.where(is_same, 0.0, np.abs(x - y))
            products = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
            cosines = np.clip((x * y).sum(axis=1) / np.where(products == 0, 1.0, products), -1.0, 1.0)
        # A row that holds what is no number is as far from another as can be, and equal to itself.
        cosines[~np.isfinite(cosines)] = -1.0
        cosines[is_same.all(axis=1)] = 1.0
        yield cosines, float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0))
