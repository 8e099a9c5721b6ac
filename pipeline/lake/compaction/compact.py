"""A dataset written anew in large files: the same rows, those of a video side by side.

The old dataset is only read, and may be in use: what is settled when this begins is what the new one gets. The plan
goes first, so that at any moment the new one is a dataset like another, of which some segments are still to do.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise, starmap

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.compaction.gather import RUNS, Gather, Layout, gather
from pipeline.lake.compaction.row_places import Catalogue, cut
from pipeline.lake.dataset import FEATURES, LISTING, PLAN_FOLDER, Dataset, leased
from pipeline.lake.features_file import ForeignFile, metadata_of
from pipeline.lake.ledger import Ledger
from pipeline.lake.publishing.store import MissingFile
from pipeline.lake.tables import QUARANTINE_FOLDER, VIDEOS_FOLDER, Totals, derive
from pipeline.records.schemas import features_schema
from pipeline.records.segments import Settled
from pipeline.records.shards import WHOLE

FILE_BYTES = 256 << 20
MEMORY_BYTES = 512 << 20
"""Of rows that are held at once; what is made of them takes two or three times as much besides."""
_ROW_BYTES = 200
"""Of a row, its feature left out, about."""
_WRITERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Compacted:
    """What one ``compact`` did, and what the new dataset then holds."""

    out: str
    totals: Totals
    num_files_before: int
    """Of the old dataset."""
    num_files: int
    """Written by this run, like bytes and samples."""
    num_bytes: int
    num_samples: int
    seconds: float = 0.0


def check_target(source: Dataset, target: Dataset) -> None:
    """Make sure that ``target`` can become ``source`` in large files. Writes nothing.

    Raises:
        UsageError: it cannot.
    """
    info = source.existing()
    old, new = f"{source.store.uri}/", f"{target.store.uri}/"
    if old.startswith(new) or new.startswith(old):
        raise UsageError(f"{target.store.uri} and {source.store.uri} lie within each other: give another --out")
    target.check(info.config)
    if target.info() is None:
        for folder in (FEATURES, PLAN_FOLDER, VIDEOS_FOLDER, QUARANTINE_FOLDER):
            if target.store.list(folder):
                raise UsageError(f"{target.store.uri} holds other files in {folder}/: give another --out")
    if not set(target.plan_names()) <= set(source.plan_names()):
        raise _other(target, source)


def compact(
    source: Dataset,
    target: Dataset,
    *,
    token: str,
    say: Callable[[str], None] = lambda _: None,
    file_bytes: int = FILE_BYTES,
    memory_bytes: int = MEMORY_BYTES,
) -> Compacted:
    """Bring into ``target``, whose lease is held, what of ``source`` is not there yet.

    Raises:
        UsageError: ``target`` has gone its own way.
        ForeignFile: ``source`` is damaged.
        LeaseLost: another run has taken ``target`` over.
        StorageError: a store failed.
    """
    catalogue = Catalogue.of(source)
    is_held = _held(catalogue, Ledger.of(target.settled_parts()), source=source, target=target)
    _begin(source, target, token=token)
    dim, dtype = (info := source.existing()).config.model.dim, info.config.dtype
    schema = features_schema(dim, dtype=dtype)
    row_bytes = _ROW_BYTES + dim * (2 if dtype == "float16" else 4)
    places, numbers = _left(catalogue, is_held, file_bytes=file_bytes)
    files_per_part = _files_per_part(catalogue.num_rows(places), numbers, most=memory_bytes // row_bytes)
    layout = Layout(catalogue, places, numbers // files_per_part)
    writer = _Writer(catalogue, target, schema=schema.with_metadata(metadata_of(source.document())), token=token)
    if len(places):
        say(f"compacting {len(catalogue.names)} files to {int(numbers[-1]) + 1}")
        rows = gather(source, layout, target, schema=schema, run_rows=max(1, memory_bytes // row_bytes), token=token)
        for part in range(layout.num_parts):
            writer.write(part, rows, places=places[layout.part(part)], numbers=numbers[layout.part(part)])
            say(f"{writer.num_files} of {int(numbers[-1]) + 1} files, {writer.num_bytes / 1e6:.0f} MB")
    target.keep_derived(RUNS, frozenset(), token=token)
    return Compacted(
        out=target.store.uri,
        totals=derive(target, shard=WHOLE, token=token),
        num_files_before=len(catalogue.names),
        num_files=writer.num_files,
        num_bytes=writer.num_bytes,
        num_samples=int(catalogue.num_rows(places).sum()),
    )


def _held(catalogue: Catalogue, held: Ledger, *, source: Dataset, target: Dataset) -> NDArray[np.bool_]:
    """Which segments of the catalogue the target has already, as far as their last attempt."""
    ledger = catalogue.ledger
    is_held = np.zeros(len(catalogue), np.bool_)
    at = ledger.find(held.keys)
    if (at < 0).any() or (held.attempts > ledger.attempts[at]).any():
        raise _other(target, source)
    is_held[at] = held.attempts == ledger.attempts[at]
    return is_held


def _begin(source: Dataset, target: Dataset, *, token: str) -> None:
    """What makes the target a dataset, before it has rows."""
    target.keep_derived(RUNS, frozenset(), token=token)  # what a run that was killed left
    target.create_as(source.document())
    known = set(target.plan_names())
    for name in source.plan_names():
        if name not in known:
            target.adopt(name, source, token=token)
    with contextlib.suppress(MissingFile):
        target.adopt(LISTING, source, token=token)


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


def _files_per_part(counts: NDArray[np.int64], numbers: NDArray[np.int64], *, most: int) -> int:
    """How many files' rows are held at once, so that they are about ``most`` rows."""
    largest = int(np.bincount(numbers, counts).max(initial=1))
    return max(1, most // max(1, largest))


def _other(target: Dataset, source: Dataset) -> UsageError:
    return UsageError(f"{target.store.uri} holds more than {source.store.uri}: give another --out")


class _Writer:
    """Writes the files of one part after the other."""

    def __init__(self, catalogue: Catalogue, target: Dataset, *, schema: pa.Schema, token: str) -> None:
        self.num_files = 0
        self.num_bytes = 0
        self._catalogue = catalogue
        self._target = target
        self._schema = schema
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
        return self._target.publish_rows(rows, entries, token=self._token)

    def _check(self, rows: pa.Table, entries: Sequence[Settled], places: NDArray[np.int64]) -> None:
        """Nothing is written that is not what the footers of the old files said."""
        owner = pa.array(np.repeat(np.arange(len(entries)), self._catalogue.num_rows(places)))
        listed = {"video_id": [entry.video_id for entry in entries], "segment": [entry.segment for entry in entries]}
        for name, values in listed.items():
            column = pa.array(values, self._schema.field(name).type).take(owner)
            if not rows[name].equals(pa.chunked_array([column])):
                files = ", ".join(self._catalogue.names[file] for file in np.unique(self._catalogue.file[places])[:3])
                raise ForeignFile(f"rows are not those that the footers list, in {files} or another of the old files")


def run_compact(uri: str, out: str, *, file_bytes: int, say: Callable[[str], None]) -> Compacted:
    """Write the dataset at ``uri`` anew at ``out``; raises as ``run_extract`` does."""
    began = time.monotonic()
    source, target = Dataset.at(uri), Dataset.at(out)
    check_target(source, target)
    target.backend.check(shard=WHOLE)
    with leased(target, shard=WHOLE) as token:
        done = compact(source, target, token=token, file_bytes=file_bytes, say=say)
    return replace(done, seconds=time.monotonic() - began)
