"""A dataset written anew in large files: the same rows, those of a video side by side.

The old dataset is only read, and may be in use: what is settled when this begins is what the new one gets; of streams,
what is published. Rows of an earlier version get the column ``captured_at``. The plan
goes first, so that at any moment the new one is a dataset like another, of which some segments are still to do.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from pipeline.errors import UsageError
from pipeline.lake.appended import schema_of
from pipeline.lake.compaction.gather import clear_runs
from pipeline.lake.compaction.rewrite import Work, rewrite
from pipeline.lake.compaction.stream_tables import compact_streams
from pipeline.lake.dataset import Dataset, leased
from pipeline.lake.declarations import declare_as, declared
from pipeline.lake.known_videos import KnownVideos
from pipeline.lake.model_folders import existing_dataset
from pipeline.lake.planned import LISTING, PLAN_FOLDER, PlanFiles
from pipeline.lake.publishing.store import MissingFile
from pipeline.lake.tables import Totals, derive
from pipeline.records.documents import Document
from pipeline.records.shards import WHOLE
from pipeline.records.stream_rows import STREAM_TABLES
from pipeline.records.tables import CAPTURED_AT, OWN_TABLES, Table, metadata_of

FILE_BYTES = 256 << 20
_OF_STREAMS = frozenset(table.name for table in STREAM_TABLES)
MEMORY_BYTES = 512 << 20
"""Of rows that are held at once; what is made of them takes two or three times as much besides."""


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
        side_tables = [declaration.name for declaration in declared(source.files)]
        for folder in (*sorted(OWN_TABLES), PLAN_FOLDER, *side_tables):
            if target.store.list(folder):
                raise UsageError(f"{target.store.uri} holds other files in {folder}/: give another --out")
    if not set(PlanFiles(target.files).names()) <= set(PlanFiles(source.files).names()):
        raise UsageError(f"{target.store.uri} holds more than {source.store.uri}: give another --out")


def compact(
    source: Dataset,
    target: Dataset,
    *,
    token: str,
    say: Callable[[str], None] = lambda _: None,
    file_bytes: int = FILE_BYTES,
    memory_bytes: int = MEMORY_BYTES,
) -> Compacted:
    """Write into ``target``, whose lease is held, what it lacks of ``source``.

    Raises:
        UsageError: ``target`` has gone its own way.
        ForeignFile: ``source`` is damaged.
        LeaseLost: another run has taken ``target`` over.
        StorageError: a store failed.
    """
    document = _document(source, target)
    features = Work.between(_features(source, document), source.files, target.files, dates=_dates(source, document))
    _begin(source, target, document, token=token)
    side_tables = (Work.between(table, source.files, target.files) for table in _side_tables(source))
    done = [
        rewrite(
            work, source.files, target.files, token=token, say=say, file_bytes=file_bytes, memory_bytes=memory_bytes
        )
        for work in itertools.chain([features], side_tables)
    ]
    _adopt_derived(source, target, token=token)
    compact_streams(source, target.files, file_bytes=file_bytes, token=token)
    clear_runs(target.files, token=token)
    return Compacted(
        out=target.store.uri,
        totals=derive(target, shard=WHOLE, token=token),
        num_files_before=sum(table.num_files_before for table in done),
        num_files=sum(table.num_files for table in done),
        num_bytes=sum(table.num_bytes for table in done),
        num_samples=done[0].num_rows,
    )


def _document(source: Dataset, target: Dataset) -> Document:
    """The configuration of the target: that of the source, whose rows get ``captured_at`` where they lack it."""
    return {**source.document(), CAPTURED_AT: True} if target.info() is None else target.document()


def _dates(source: Dataset, document: Document) -> KnownVideos | None:
    """When the videos were recorded whose rows get ``captured_at``; ``None``: they have it, or do without."""
    is_added = document.get(CAPTURED_AT) is True and not source.existing().has_captured_at
    return KnownVideos.of(source.files) if is_added else None


def _features(source: Dataset, document: Document) -> Table:
    """The ``features`` table of the source, with the document of the version that made it."""
    table = source.existing().features
    return replace(table, schema=table.schema.with_metadata(metadata_of(document)))


def _side_tables(source: Dataset) -> Iterator[Table]:
    """The appended ones that hold a file; their columns are those of the first."""
    for declaration in declared(source.files):
        names = source.appended(declaration.name).names()
        if declaration.growth == "appended" and names:
            schema = schema_of(source.files, names[0])
            yield Table(name=declaration.name, schema=schema, key=declaration.key, growth="appended")


def _begin(source: Dataset, target: Dataset, document: Document, *, token: str) -> None:
    """What makes the target a dataset, before it has rows."""
    clear_runs(target.files, token=token)  # what a run that was killed left
    target.create_as(document)
    known = set(PlanFiles(target.files).names())
    for name in PlanFiles(source.files).names():
        if name not in known:
            _adopt(name, source, target, token=token)
    with contextlib.suppress(MissingFile):
        _adopt(LISTING, source, target, token=token)
    for declaration in declared(source.files):
        declare_as(target.files, declaration, token=token)


def _adopt_derived(source: Dataset, target: Dataset, *, token: str) -> None:
    """Copy the files of derived side tables as they are: only the program that made them knows how to derive them."""
    for declaration in declared(source.files):
        if declaration.growth == "derived" and declaration.name not in _OF_STREAMS:
            names = source.store.list(declaration.name)
            for name in names:
                _adopt(name, source, target, token=token)
            for name in target.store.list(declaration.name):
                if name not in names:
                    target.files.fence(token).remove(name)


def _adopt(name: str, source: Dataset, target: Dataset, *, token: str) -> None:
    """Take over a file of another dataset as it is, under the same name."""
    target.files.fence(token).replace(name, source.store.read(name), version=target.store.version(name))


def run_compact(uri: str, out: str, *, file_bytes: int, say: Callable[[str], None]) -> Compacted:
    """Write the dataset at ``uri`` anew at ``out``; raises as ``run_extract`` does."""
    began = time.monotonic()
    target, source = Dataset.at(out), existing_dataset(uri, command="compact")
    check_target(source, target)
    target.backend.check(slot=WHOLE)
    with leased(target, slot=WHOLE) as token:
        done = compact(source, target, token=token, file_bytes=file_bytes, say=say)
    return replace(done, seconds=time.monotonic() - began)
