"""Lists of videos: ``.csv``, ``.parquet`` and ``.txt`` files whose column or lines ``uri`` name them."""

import io
import math
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import BinaryIO, NoReturn
from urllib.parse import urljoin, urlsplit

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipeline.errors import InputError, UsageError
from pipeline.inputs.csv_columns import CsvColumn
from pipeline.storage.addresses import canonical_uri, is_in_bucket, is_local, local_locator, local_path, shown
from pipeline.storage.local import find_path
from pipeline.storage.reader import Identity, RangesFile
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy
from pipeline.storage.schemes import open_reader, require_scheme

_FORMATS = ("csv", "parquet", "txt")
_RANGE_COLUMNS = ("start_s", "end_s")
_OWN_COLUMNS = ("uri", *_RANGE_COLUMNS)
_BATCH_ROWS = 4096
_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a manifest: an address, the seconds of it that are wanted, and the further columns.

    ``identity``: who it is, where a listing has said so.
    """

    locator: str
    start_s: Fraction | None = None
    end_s: Fraction | None = None
    columns: dict[str, object]
    identity: Identity | None = None


def is_manifest(locator: str) -> bool:
    """Whether an address has a manifest's suffix."""
    return _format(locator) in _FORMATS


class Manifest:
    """A manifest, checked from the first row to the last when it is constructed; iterating reads it once more.

    Attributes:
        uri: canonical.
        fields: its further columns, with their types.

    Raises:
        UsageError: it cannot be read or parsed, has no column ``uri``, one of the ``reserved`` columns, a bad range or
            address, or no rows.
        StorageError: the store failed, after retries.
    """

    def __init__(
        self, locator: str, *, reserved: frozenset[str] = frozenset(), retry: RetryPolicy = DEFAULT_RETRY
    ) -> None:
        self.uri = canonical_uri(locator)
        self._locator = local_locator(local_path(locator)) if is_local(locator) else locator
        self._format = _format(locator)
        self._retry = retry
        self._schema = _plain(self._read_schema())
        self._check_columns(reserved)
        self.fields: list[pa.Field] = [field for field in self._schema if field.name not in _OWN_COLUMNS]
        checked = self._entries([name for name in self._schema.names if name in _OWN_COLUMNS])
        if not sum(1 for _ in checked):
            self._refuse("it names no videos")

    def __iter__(self) -> Iterator[Entry]:
        return self._entries(self._schema.names)

    def _entries(self, columns: list[str]) -> Iterator[Entry]:
        row = 0
        with self._open() as file:
            for values in self._rows(file, columns):
                row += 1
                yield self._entry(values, row=row)

    def _entry(self, values: dict[str, object], *, row: int) -> Entry:
        text = str(values.pop("uri") or "").strip()
        if not text:
            self._refuse(f"row {row}: no uri")
        start_s, end_s = (self._seconds(values.pop(name, None), name=name, row=row) for name in _RANGE_COLUMNS)
        if end_s is not None and end_s <= (start_s or 0):
            self._refuse(f"row {row}: end_s must be greater than start_s (or 0)")
        try:
            locator = self._resolve(text)
        except UsageError as error:
            self._refuse(f"row {row}: {error}")
        return Entry(locator=locator, start_s=start_s, end_s=end_s, columns=values)

    def _resolve(self, text: str) -> str:
        """An address as the manifest means it: what is relative is beside the manifest."""
        is_plain = is_local(text) and not text.lower().startswith("file:/")
        if is_local(self._locator):
            text = os.path.join(os.path.dirname(local_path(self._locator)), text) if is_plain else text
        elif is_in_bucket(self._locator):
            text = _beside(self.uri, text) if is_plain else text
        else:
            text = urljoin(self._locator, text)
        require_scheme(text)
        if is_local(text):
            return local_locator(find_path(text))
        if shown(text) != text:
            raise UsageError(f"{shown(text)} is not UTF-8 text, as an address must be")
        canonical_uri(text)
        return text

    def _seconds(self, value: object, *, name: str, row: int) -> Fraction | None:
        if isinstance(value, str):  # in a CSV file, where a column of its own type would lose an id's zeros
            value = _number(value)
        if value is None:
            return None
        if not isinstance(value, int | float | Decimal) or not math.isfinite(value) or value < 0:
            self._refuse(f"row {row}: {name} must be a number of seconds, at least 0")
        # 1.1 means eleven tenths, not the double next to it.
        return Fraction(str(value))

    def _check_columns(self, reserved: frozenset[str]) -> None:
        names: list[str] = self._schema.names
        if "uri" not in names:
            self._refuse(f"it has no column uri; its columns: {', '.join(names)}")
        if len(set(names)) < len(names):
            self._refuse(f"a column is there twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        taken = sorted((reserved & set(names)) - set(_OWN_COLUMNS))
        if taken:
            self._refuse(f"these columns are vidlake's own; rename them: {', '.join(taken)}")
        if not pa.types.is_string(self._schema.field("uri").type):
            self._refuse("column uri must be text")
        for name in _RANGE_COLUMNS:
            if self._format == "parquet" and name in names and not _is_number(self._schema.field(name).type):
                self._refuse(f"column {name} must be numbers: seconds from the video's start")

    def _read_schema(self) -> pa.Schema:
        if self._format == "txt":
            return pa.schema([("uri", pa.string())])
        if self._format == "parquet":
            with self._open() as file:
                return pq.ParquetFile(file).schema_arrow
        with self._open() as file:
            names = pa_csv.open_csv(file, **_csv_options({})).schema.names
        columns = [CsvColumn(name) for name in names if name not in _OWN_COLUMNS and names.count(name) == 1]
        # To the last row, which may be the one that makes a column text.
        with self._open() as file:
            for batch in pa_csv.open_csv(file, **_csv_options(dict.fromkeys(names, pa.string()))):
                for column in columns:
                    column.add(batch.column(column.name).to_pylist())
        kinds = {column.name: column.kind for column in columns}
        return pa.schema([(name, kinds.get(name, pa.string())) for name in names])

    def _rows(self, file: BinaryIO, columns: list[str]) -> Iterator[dict[str, object]]:
        if self._format == "txt":
            for line in _lines(file):
                yield {"uri": line}
        elif self._format == "parquet":
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                plain = batch.cast(pa.schema([self._schema.field(name) for name in batch.schema.names]))
                yield from plain.to_pylist()
        else:
            types = {field.name: pa.string() if field.name in _OWN_COLUMNS else field.type for field in self._schema}
            for batch in pa_csv.open_csv(file, **_csv_options(types, columns=columns)):
                yield from batch.to_pylist()

    @contextmanager
    def _open(self) -> Iterator[BinaryIO]:
        try:
            with open_reader(self._locator, retry=self._retry) as reader:
                yield io.BufferedReader(
                    RangesFile(reader.read_at, size_bytes=reader.size_bytes), buffer_size=_BUFFER_BYTES
                )
        except InputError as error:
            self._refuse(error.detail)
        except UnicodeError:
            self._refuse("it is not UTF-8 text")
        except (pa.ArrowException, OSError) as error:
            self._refuse(f"it cannot be read as {self._format}: {_complaint(error)}")

    def _refuse(self, detail: str) -> NoReturn:
        raise UsageError(f"manifest {self.uri}: {detail}") from None


def _beside(uri: str, name: str) -> str:
    """What a name means in a folder of a bucket; one that begins with a slash counts from the bucket."""
    scheme, _, rest = uri.partition("://")
    place, _, key = rest.partition("/")
    below = posixpath.normpath(posixpath.join("/", posixpath.dirname(key), name))
    return f"{scheme}://{place}/{below.lstrip('/')}" + "/" * name.endswith("/")


def _format(locator: str) -> str:
    path = canonical_uri(locator) if is_local(locator) or is_in_bucket(locator) else urlsplit(locator).path
    return path.lower().rpartition(".")[2]


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
