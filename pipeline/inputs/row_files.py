"""Rows of ``.csv`` and ``.parquet`` files and lines of ``.txt`` files, wherever they lie.

Lists of videos and files of labels are read by this.
"""

import io
import math
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import BinaryIO, NoReturn
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.errors import InputError, UsageError
from pipeline.inputs.csv_columns import CsvColumn
from pipeline.storage.addresses import canonical_uri, is_in_bucket, is_local, local_locator, local_path
from pipeline.storage.reader import RangesFile
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy
from pipeline.storage.schemes import open_reader

RANGE_COLUMNS = ("start_s", "end_s")
_BATCH_ROWS = 4096
_BUFFER_BYTES = 1 << 18


def format_of(locator: str) -> str:
    """The suffix of an address, in small letters and without its dot."""
    path = canonical_uri(locator) if is_local(locator) or is_in_bucket(locator) else urlsplit(locator).path
    return path.lower().rpartition(".")[2]


class RowFile:
    """A file of rows; its format is that of its suffix.

    Attributes:
        uri: canonical.
        locator: what opens it.
        format: ``csv``, ``parquet``, or ``txt``, which has the one column ``uri``.
        schema: its columns. Those of a CSV file are text, but for numbers that lose nothing by it.

    Raises:
        UsageError: it cannot be read or parsed, or a column is there twice.
        StorageError: the store failed, after retries.
    """

    def __init__(self, locator: str, *, what: str, texts: Collection[str], retry: RetryPolicy = DEFAULT_RETRY) -> None:
        """Read the columns of a file.

        Args:
            locator: its address.
            what: it is, for messages.
            texts: the columns that a CSV file gives as text whatever they hold.
            retry: for what may pass.
        """
        self.uri = canonical_uri(locator)
        self.locator = local_locator(local_path(locator)) if is_local(locator) else locator
        self.format = format_of(locator)
        self._what = what
        self._texts = texts
        self._retry = retry
        self.schema = _plain(self._read_schema())
        names: list[str] = self.schema.names
        if len(set(names)) < len(names):
            self.refuse(f"a column is there twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")

    def rows(self, columns: list[str]) -> Iterator[dict[str, object]]:
        """The rows in the file's order, with these columns. Raises as the class does."""
        with self._open() as file:
            if self.format == "txt":
                for line in _lines(file):
                    yield {"uri": line}
            elif self.format == "parquet":
                for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    plain = batch.cast(pa.schema([self.schema.field(name) for name in batch.schema.names]))
                    yield from plain.to_pylist()
            else:
                types = {each.name: pa.string() if each.name in self._texts else each.type for each in self.schema}
                for batch in pa_csv.open_csv(file, **_csv_options(types, columns=columns)):
                    yield from batch.to_pylist()

    def check_ranges(self) -> None:
        """Make sure that ``start_s`` and ``end_s``, where there are such columns, are numbers."""
        for name in RANGE_COLUMNS:
            if self.format == "parquet" and name in self.schema.names and not _is_number(self.schema.field(name).type):
                self.refuse(f"column {name} must be numbers: seconds from the video's start")

    def range_of(self, values: dict[str, object], *, row: int) -> tuple[Fraction | None, Fraction | None]:
        """The range of a row, whose columns are taken out of ``values``; ``None``: it is open."""
        start_s, end_s = (self._seconds(values.pop(name, None), name=name, row=row) for name in RANGE_COLUMNS)
        if end_s is not None and end_s <= (start_s or 0):
            self.refuse(f"row {row}: end_s must be greater than start_s (or 0)")
        return start_s, end_s

    def refuse(self, detail: str) -> NoReturn:
        """Say what is wrong with the file."""
        raise UsageError(f"{self._what} {self.uri}: {detail}") from None

    def _seconds(self, value: object, *, name: str, row: int) -> Fraction | None:
        if isinstance(value, str):  # in a CSV file, where a column of its own type would lose an id's zeros
            value = _number(value)
        if value is None:
            return None
        if not isinstance(value, int | float | Decimal) or not math.isfinite(value) or value < 0:
            self.refuse(f"row {row}: {name} must be a number of seconds, at least 0")
        # 1.1 means eleven tenths, not the double next to it.
        return Fraction(str(value))

    def _read_schema(self) -> pa.Schema:
        if self.format == "txt":
            return pa.schema([("uri", pa.string())])
        if self.format == "parquet":
            with self._open() as file:
                return pq.ParquetFile(file).schema_arrow
        with self._open() as file:
            names = pa_csv.open_csv(file, **_csv_options({})).schema.names
        columns = [CsvColumn(name) for name in names if name not in self._texts and names.count(name) == 1]
        # To the last row, which may be the one that makes a column text.
        with self._open() as file:
            for batch in pa_csv.open_csv(file, **_csv_options(dict.fromkeys(names, pa.string()))):
                for column in columns:
                    column.add(batch.column(column.name).to_pylist())
        kinds = {column.name: column.kind for column in columns}
        return pa.schema([(name, kinds.get(name, pa.string())) for name in names])

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with open_reader(self.locator, retry=self._retry) as reader:
                yield io.BufferedReader(
                    RangesFile(reader.read_at, size_bytes=reader.size_bytes), buffer_size=_BUFFER_BYTES
                )
        except InputError as error:
            self.refuse(error.detail)
        except UnicodeError:
            self.refuse("it is not UTF-8 text")
        except (pa.ArrowException, OSError) as error:
            self.refuse(f"it cannot be read as {self.format}: {_complaint(error)}")


def _csv_options(types: dict[str, pa.DataType], *, columns: list[str] | None = None) -> dict[str, object]:
    return {
        "parse_options": pa_csv.ParseOptions(newlines_in_values=True),
        # What is empty is no number; all else is written down, be it ``NaN``, ``null`` or ``NA``.
        "convert_options": pa_csv.ConvertOptions(column_types=types, include_columns=columns or [], null_values=[""]),
    }


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines that name something; bytes that are no UTF-8 are parts of names, as ``find`` writes them."""
    for line in io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape"):
        if "\0" in line:
            raise UnicodeError("no text")
        uri = line.strip()
        if uri and not uri.startswith("#"):
            yield uri


def _plain(schema: pa.Schema) -> pa.Schema:
    """The types that a dataset holds: strings are plain strings, and a column without values is one of them."""
    return pa.schema([pa.field(field.name, _plain_type(field.type)) for field in schema])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return kind


def _number(text: str) -> Decimal | str | None:
    """The number that a field holds; ``None``: it is empty, or says that there is none; else the text itself."""
    if text.strip().lower() in ("", "na", "n/a", "nan", "null", "none"):
        return None
    try:
        return Decimal(text.strip())
    except InvalidOperation:
        return text


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _complaint(error: Exception) -> str:
    """A parser's words without the row that it quotes, which may hold a signature."""
    text = str(error).partition("\n")[0]
    columns = re.search(r"(Row #\d+: )?Expected \d+ columns, got \d+", text)
    if columns:
        return columns[0]
    return "bad content" if "://" in text else text
