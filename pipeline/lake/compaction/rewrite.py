"""One appended table written anew in large files, in bounded memory."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, starmap

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.appended import Appended
from pipeline.lake.catalogue import Catalogue
from pipeline.lake.compaction.gather import Gather, Layout, gather
from pipeline.lake.files import DatasetFiles, ForeignFile
from pipeline.lake.known_videos import KnownVideos
from pipeline.lake.ledger import Ledger
from pipeline.records.ids import ids_of_keys
from pipeline.records.rows import captured_at
from pipeline.records.settled import Settled
from pipeline.records.tables import CAPTURED_AT, MOMENT, Table

_ROW_BYTES = 200
"""Of a row, about, besides its vectors and its pictures."""
_WRITERS = 2
_MOST_ENTRIES = 100_000
"""Of a footer that is still read in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What was written of one table."""

    num_files_before: int
    num_files: int
    num_bytes: int
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A table to rewrite; ``is_held`` says for each segment of the catalogue whether the target has it already."""

    table: Table
    catalogue: Catalogue
    is_held: NDArray[np.bool_]
    dates: KnownVideos | None
    """When the videos were recorded whose rows get a column ``captured_at``, after those of the table."""

    @classmethod
    def between(
        cls, table: Table, source: DatasetFiles, target: DatasetFiles, *, dates: KnownVideos | None = None
    ) -> "Work":
        """What the target lacks of the source.

        Raises:
            UsageError: the target has gone its own way.
            ForeignFile: the source is damaged.
        """
        catalogue = Catalogue.of(Appended(source, table.name))
        held, ledger = Ledger.of(Appended(target, table.name).settled_parts()), catalogue.ledger
        is_held = np.zeros(len(catalogue), np.bool_)
        at = ledger.find(held.keys)
        if (at < 0).any() or (held.attempts > ledger.attempts[at]).any():
            raise UsageError(f"{target.store.uri} holds more than {source.store.uri}: give another --out")
        is_held[at] = held.attempts == ledger.attempts[at]
        return cls(table=table, catalogue=catalogue, is_held=is_held, dates=dates)

    @property
    def row_bytes(self) -> int:
        """Of a row in memory, about."""
        kinds = [field.type for field in self.table.schema]
        vectors: int = sum(kind.list_size * kind.value_type.bit_width // 8 for kind in kinds if _is_vector(kind))
        if not any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in kinds):
            return _ROW_BYTES + vectors
        num_rows = int(self.catalogue.ledger.num_samples.sum(dtype=np.int64))
        return _ROW_BYTES + vectors + int(self.catalogue.num_bytes.sum() / max(1, num_rows))


def rewrite(
    work: Work,
    source: DatasetFiles,
    target: DatasetFiles,
    *,
    token: str,
    say: Callable[[str], None],
    file_bytes: int,
    memory_bytes: int,
) -> Rewritten:
    """Write what the target lacks of a table, in files of about ``file_bytes``.

    Raises:
        ForeignFile: the source is damaged.
        LeaseLost: another run has taken the target over.
        StorageError: a store failed.
    """
    catalogue, most_rows = work.catalogue, max(1, memory_bytes // work.row_bytes)
    places, numbers = _left(catalogue, work.is_held, file_bytes=file_bytes)
    layout = Layout(catalogue, places, numbers // _files_per_part(catalogue.num_rows(places), numbers, most=most_rows))
    writer = _Writer(work, Appended(target, work.table.name), token=token)
    if len(places):
        num_files = int(numbers[-1]) + 1
        say(f"compacting {len(catalogue.names)} files to {num_files}")
        schema = work.table.schema.remove_metadata()
        table = Appended(source, work.table.name)
        rows = gather(table, layout, target, schema=schema, run_rows=most_rows, token=token)
        for part in range(layout.num_parts):
            writer.write(part, rows, places=places[layout.part(part)], numbers=numbers[layout.part(part)])
            say(f"{writer.num_files} of {num_files} files, {writer.num_bytes / 1e6:.0f} MB")
    return Rewritten(
        num_files_before=len(catalogue.names),
        num_files=writer.num_files,
        num_bytes=writer.num_bytes,
        num_rows=int(catalogue.num_rows(places).sum()),
    )


def _is_vector(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind))


def _left(
    catalogue: Catalogue, is_held: NDArray[np.bool_], *, file_bytes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The places that the target has not yet, and the number of the file that each goes to.

    Where a run was killed, the files that are missing are those that it would have written. Where the source has grown
    since, or ``file_bytes`` is another, what is left is cut by itself.
    """
    places = np.flatnonzero(~is_held)
    numbers = cut(catalogue.num_bytes, file_bytes=file_bytes)
    is_whole = np.bincount(numbers, is_held) % np.bincount(numbers) == 0
    if not is_whole.all():
        return places, cut(catalogue.num_bytes[places], file_bytes=file_bytes)
    _, left = np.unique(numbers[places], return_inverse=True)
    return places, left


def cut(num_bytes: NDArray[np.float64], *, file_bytes: int) -> NDArray[np.int64]:
    """The number of the file that each of a row of segments goes to: files of about equal size, near ``file_bytes``.

    None is small beside the others: where there is as much as one file's worth, each has two thirds of it and more.
    """
    if not len(num_bytes):
        return np.empty(0, np.int64)
    sizes = np.maximum(num_bytes, file_bytes / _MOST_ENTRIES)
    ends = np.cumsum(sizes)
    num_files = max(1, round(ends[-1] / file_bytes))
    middles = (ends - sizes / 2) / ends[-1]
    _, numbers = np.unique(np.minimum((middles * num_files).astype(np.int64), num_files - 1), return_inverse=True)
    return numbers.astype(np.int64)


def _files_per_part(counts: NDArray[np.int64], numbers: NDArray[np.int64], *, most: int) -> int:
    """How many files' rows are held at once, so that they are about ``most`` rows."""
    largest = int(np.bincount(numbers, counts).max(initial=1))
    return max(1, most // max(1, largest))


class _Writer:
    """Writes the files of one part after the other."""

    def __init__(self, work: Work, target: Appended, *, token: str) -> None:
        self.num_files = 0
        self.num_bytes = 0
        self._catalogue = work.catalogue
        self._target = target
        self._schema = work.table.schema
        self._dates = work.dates
        self._token = token

    def write(self, part: int, rows: Gather, *, places: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Publish the files of a part: the segments at ``places``, each in the file of its number."""
        tables = rows.rows(part, places)
        ends = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), len(numbers)]
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="writer") as pool:
            sizes = pool.map(lambda span: self._publish(places[span], tables[span]), starmap(slice, pairwise(ends)))
            self.num_bytes += sum(sizes)
        self.num_files += len(ends) - 1

    def _publish(self, places: NDArray[np.int64], tables: Sequence[pa.Table]) -> int:
        entries = self._catalogue.ledger.entries(places)
        rows = pa.concat_tables(tables).replace_schema_metadata(self._schema.metadata)
        self._check(rows, entries, places)
        if self._dates is not None:
            rows = self._dated(rows, self._dates, places)
        return self._target.publish(rows, entries, token=self._token)

    def _dated(self, rows: pa.Table, dates: KnownVideos, places: NDArray[np.int64]) -> pa.Table:
        """Rows with the column ``captured_at``."""
        recorded_s = dates.recorded_of(ids_of_keys(self._catalogue.ledger.keys[places]))
        recorded_us = np.repeat(np.round(recorded_s * 1e6), self._catalogue.num_rows(places))
        is_unknown = np.isnan(recorded_us)
        recorded = pa.array(np.where(is_unknown, 0, recorded_us).astype(np.int64), MOMENT, mask=is_unknown)
        return rows.append_column(CAPTURED_AT, captured_at(recorded, rows["time_s"]))

    def _check(self, rows: pa.Table, entries: Sequence[Settled], places: NDArray[np.int64]) -> None:
        """Nothing is written that is not what the footers of the old files said."""
        owner = pa.array(np.repeat(np.arange(len(entries)), self._catalogue.num_rows(places)))
        listed = {"video_id": [entry.video_id for entry in entries], "segment": [entry.segment for entry in entries]}
        for name, values in listed.items():
            if name not in rows.schema.names:
                continue
            column = pa.array(values, self._schema.field(name).type).take(owner)
            if not rows[name].equals(pa.chunked_array([column])):
                files = ", ".join(self._catalogue.names[file] for file in np.unique(self._catalogue.file[places])[:3])
                raise ForeignFile(f"rows are not those that the footers list, in {files} or another of the old files")
