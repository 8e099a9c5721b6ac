"""Which columns of a CSV file are numbers: those that lose nothing by it.

A manifest's further columns hold names of cameras, labels and ids. ``007``, ``1e5``, ``NaN``, ``true``, ``1.10`` or
``2024-05-01`` must come out as they went in, so a column is a number only where every field is written as the number
itself would be; one field that is not makes the whole column text.
"""

import math
import re
from collections.abc import Iterable

import pyarrow as pa

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,18}")
_INT64 = range(-(2**63), 2**63)
_EXACT_AS_FLOAT = range(-(2**53), 2**53 + 1)


class CsvColumn:
    """What the fields of one column have in common; add them batch by batch.

    Attributes:
        name: the column's.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._has_values = False
        self._may_be_int = True
        self._may_be_float = True

    @property
    def kind(self) -> pa.DataType:
        """``int64``, ``float64`` or ``string``; a column without values is text."""
        if not self._has_values:
            return pa.string()
        if self._may_be_int:
            return pa.int64()
        return pa.float64() if self._may_be_float else pa.string()

    def add(self, fields: Iterable[str | None]) -> None:
        """Look at more fields, as text; the empty ones say nothing."""
        for text in filter(None, fields):
            if not (self._may_be_int or self._may_be_float):
                return
            self._has_values = True
            is_whole = _WHOLE.fullmatch(text) is not None
            self._may_be_int &= is_whole and int(text) in _INT64
            self._may_be_float &= int(text) in _EXACT_AS_FLOAT if is_whole else _is_shortest(text)


def _is_shortest(text: str) -> bool:
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and repr(value) == text
