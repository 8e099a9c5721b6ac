"""Lists of videos: ``.csv``, ``.parquet`` and ``.txt`` files whose column or lines ``uri`` name them."""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import urljoin

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.inputs.row_files import RANGE_COLUMNS, RowFile, format_of
from pipeline.storage.addresses import canonical_uri, is_in_bucket, is_local, local_locator, local_path, shown
from pipeline.storage.local import find_path
from pipeline.storage.reader import Identity
from pipeline.storage.retry import DEFAULT_RETRY, RetryPolicy
from pipeline.storage.schemes import require_scheme

_FORMATS = ("csv", "parquet", "txt")
_OWN_COLUMNS = ("uri", *RANGE_COLUMNS)


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
    return format_of(locator) in _FORMATS


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
        self._file = RowFile(locator, what="manifest", texts=_OWN_COLUMNS, retry=retry)
        self.uri = self._file.uri
        self._check_columns(reserved)
        schema = self._file.schema
        self.fields: list[pa.Field] = [field for field in schema if field.name not in _OWN_COLUMNS]
        checked = self._entries([name for name in schema.names if name in _OWN_COLUMNS])
        if not sum(1 for _ in checked):
            self._file.refuse("it names no videos")

    def __iter__(self) -> Iterator[Entry]:
        return self._entries(self._file.schema.names)

    def _entries(self, columns: list[str]) -> Iterator[Entry]:
        for row, values in enumerate(self._file.rows(columns), 1):
            yield self._entry(values, row=row)

    def _entry(self, values: dict[str, object], *, row: int) -> Entry:
        text = str(values.pop("uri") or "").strip()
        if not text:
            self._file.refuse(f"row {row}: no uri")
        start_s, end_s = self._file.range_of(values, row=row)
        try:
            locator = self._resolve(text)
        except UsageError as error:
            self._file.refuse(f"row {row}: {error}")
        return Entry(locator=locator, start_s=start_s, end_s=end_s, columns=values)

    def _resolve(self, text: str) -> str:
        """An address as the manifest means it: what is relative is beside the manifest."""
        is_plain = is_local(text) and not text.lower().startswith("file:/")
        if is_local(self._file.locator):
            text = os.path.join(os.path.dirname(local_path(self._file.locator)), text) if is_plain else text
        elif is_in_bucket(self._file.locator):
            text = _beside(self.uri, text) if is_plain else text
        else:
            text = urljoin(self._file.locator, text)
        require_scheme(text)
        if is_local(text):
            return local_locator(find_path(text))
        if shown(text) != text:
            raise UsageError(f"{shown(text)} is not UTF-8 text, as an address must be")
        canonical_uri(text)
        return text

    def _check_columns(self, reserved: frozenset[str]) -> None:
        schema, refuse = self._file.schema, self._file.refuse
        if "uri" not in schema.names:
            refuse(f"it has no column uri; its columns: {', '.join(schema.names)}")
        taken = sorted((reserved & set(schema.names)) - set(_OWN_COLUMNS))
        if taken:
            refuse(f"these columns are vidlake's own; rename them: {', '.join(taken)}")
        if not pa.types.is_string(schema.field("uri").type):
            refuse("column uri must be text")
        self._file.check_ranges()


def _beside(uri: str, name: str) -> str:
    """What a name means in a folder of a bucket; one that begins with a slash counts from the bucket."""
    scheme, _, rest = uri.partition("://")
    place, _, key = rest.partition("/")
    below = posixpath.normpath(posixpath.join("/", posixpath.dirname(key), name))
    return f"{scheme}://{place}/{below.lstrip('/')}" + "/" * name.endswith("/")
