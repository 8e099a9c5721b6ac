"""One group of features files: its rows in lists of such as are alike, each in a byte a value.

A query is compared with the rows of the nearest lists, roughly, and with the nearest of those rows as they are stored.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.unpacked.array_file import BadArrayFile, open_arrays

ENDING = ".group"
_ROWS = 256
"""Codes that are turned into floats at a time: they fit a CPU's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The index of some features files, mapped into memory."""

    path: Path
    keys: tuple[str, ...]
    """Of the copies of the files, as ``FeaturesFile.key``."""
    firsts: NDArray[np.int64]
    """Where the rows of each file begin among those of the group, and at last how many these are."""
    centres: NDArray[np.float32]
    """``float32[L, D]``: the middle of each list, of length 1."""
    ends: NDArray[np.int64]
    """``int64[L]``: where each list ends."""
    rows: NDArray[np.int64]
    """``int64[N]``: the rows, list by list."""
    codes: NDArray[np.uint8]
    """``uint8[N, D]``: their unit vectors, list by list: value = ``low`` + code x ``step``."""
    low: NDArray[np.float32]
    step: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def open(cls, path: Path, *, dim: int, configuration: str) -> Self:
        """Map the file of a group.

        Raises:
            BadArrayFile: it is not one, or not whole, or of features that were made in another way.
            OSError: it cannot be read.
        """
        about, arrays = open_arrays(path)
        try:
            if about["configuration"] != configuration:
                raise BadArrayFile
            group = cls(
                path=path,
                keys=_keys(_checked(arrays, "keys", "uint8")),
                firsts=_checked(arrays, "firsts", "int64"),
                centres=_checked(arrays, "centres", "float32"),
                ends=_checked(arrays, "ends", "int64"),
                rows=_checked(arrays, "rows", "int64"),
                codes=_checked(arrays, "codes", "uint8"),
                low=_checked(arrays, "low", "float32"),
                step=_checked(arrays, "step", "float32"),
            )
        except (KeyError, TypeError):
            raise BadArrayFile from None
        if not group._is_sound(dim):
            raise BadArrayFile
        return group

    def roughly(self, unit: NDArray[np.float32], lists: NDArray[np.int64]) -> NDArray[np.float32]:
        """About how like the rows of some lists are, one list after the other, as ``places`` has them."""
        scaled = unit * self.step
        parts = [np.empty(0, np.float32)]
        for number in lists.tolist():
            begin, end = self._span(number)
            for at in range(begin, end, _ROWS):
                parts.append(np.vecdot(self.codes[at : min(at + _ROWS, end)].astype(np.float32), scaled))
        return np.concatenate(parts) + np.float32(self.low @ unit)

    def places(self, lists: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows of some lists, one list after the other."""
        return np.concatenate([np.empty(0, np.int64), *(self.rows[slice(*self._span(at))] for at in lists.tolist())])

    def _span(self, number: int) -> tuple[int, int]:
        return int(self.ends[number - 1]) if number else 0, int(self.ends[number])

    def _is_sound(self, dim: int) -> bool:
        """Whether the arrays fit each other, as far as that can be told without reading all rows."""
        num_rows, num_lists = len(self.rows), len(self.ends)
        shapes = (
            self.rows.ndim == 1
            and self.codes.shape == (num_rows, dim)
            and self.centres.shape == (num_lists, dim)
            and self.low.shape == self.step.shape == (dim,)
            and self.firsts.shape == (len(self.keys) + 1,)
        )
        return bool(
            shapes
            and num_lists > 0
            and (np.diff(self.ends, prepend=0) >= 0).all()
            and (np.diff(self.firsts, prepend=0) >= 0).all()
            and self.ends[-1] == num_rows == self.firsts[-1]
        )


def _checked(arrays: Mapping[str, NDArray[Any]], name: str, dtype: str) -> NDArray[Any]:
    array = arrays[name]
    if array.dtype.name != dtype:
        raise BadArrayFile
    return array


def _keys(array: NDArray[np.uint8]) -> tuple[str, ...]:
    if array.ndim != 2:
        raise BadArrayFile
    return tuple(row.tobytes().decode("ascii", "replace") for row in array)


def covering(groups: Sequence[Group], keys: set[str]) -> list[Group]:
    """Groups whose files are all among ``keys``, the largest first, none of which has a file of another."""
    chosen, covered = [], set[str]()
    for group in sorted(groups, key=lambda each: (-len(each), each.path.name)):
        own = set(group.keys)
        if own <= keys and not own & covered:
            chosen.append(group)
            covered |= own
    return chosen
