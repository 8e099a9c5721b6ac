"""Rows of a dataset as torch's loaders take them: by their numbers, each with its feature as a tensor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Item = dict[str, "torch.Tensor | str | int | float"]


class NumberedRows(Protocol):
    """Rows that can be read at any place."""

    def __len__(self) -> int:
        """How many they are."""

    def row(self, number: int) -> tuple[NDArray[np.float32], Mapping[str, str | int | float]]:
        """A row's feature, ``float32[D]``, and its other columns."""


class RowTensors:
    """A map-style dataset: ``[i]`` is a dict whose ``feature`` is a tensor. For any ``torch.utils.data.DataLoader``.

    Workers of a loader open the rows themselves; what is pickled is where they lie.
    """

    def __init__(self, open_rows: Callable[[], NumberedRows]) -> None:
        """``open_rows`` survives pickling."""
        self._open_rows = open_rows
        self._rows: NumberedRows | None = None

    def __len__(self) -> int:
        return len(self._opened())

    def __getitem__(self, number: int) -> Item:
        """One row.

        Raises:
            IndexError: there are not so many.
        """
        count = len(self)
        place = number + count if number < 0 else number
        if not 0 <= place < count:
            raise IndexError(f"row {number} of {count}")
        feature, columns = self._opened().row(place)
        return {**columns, "feature": torch.from_numpy(np.array(feature, np.float32))}

    def __getitems__(self, numbers: Sequence[int]) -> list[Item]:
        """Several rows, as loaders ask for them."""
        return [self[number] for number in numbers]

    def __getstate__(self) -> dict[str, object]:
        return {"_open_rows": self._open_rows, "_rows": None}

    def _opened(self) -> NumberedRows:
        if self._rows is None:
            self._rows = self._open_rows()
        return self._rows
