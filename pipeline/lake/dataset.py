"""The dataset folder: its configuration, its plan, what is done, and how more is committed."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.lake import earlier_versions
from pipeline.lake.config import DatasetConfig
from pipeline.lake.features_file import (
    Footer,
    ForeignFile,
    describe,
    features_file,
    file_of,
    read_description,
    read_footer,
    read_rows,
)
from pipeline.lake.publishing import backends
from pipeline.lake.publishing.lease import Backend, Fence
from pipeline.lake.publishing.store import MissingFile, StoreRefused
from pipeline.records.documents import Document, document_of, text
from pipeline.records.rows import concat, last_attempts, settled_of
from pipeline.records.schemas import PLAN, SETTLED
from pipeline.records.segments import Settled
from pipeline.records.shards import Shard
from pipeline.storage.retry import DEFAULT_RETRY, Transient, persistently

CONFIG = "_vidlake/config.json"
LISTING = "_vidlake/listing.parquet"
FEATURES = "features"
PLAN_FOLDER = "_vidlake/plan"
_ROWS_PER_PART = 5_000
_FOOTER_THREADS = 16
_FOOTERS_AT_ONCE = 3 * _FOOTER_THREADS

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """The configuration of a dataset and, so that it can be run again by itself, where its weights are from."""

    config: DatasetConfig
    weights: str

    def to_json(self) -> Document:
        """The document under ``vidlake`` in every features file, and in ``_vidlake/config.json``."""
        return describe(self.config, weights=self.weights)


class Dataset:
    """A dataset that exists or is about to. Publishing needs the token of a lease that is held."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.store = backend.store

    @classmethod
    def at(cls, uri: str) -> "Dataset":
        """The dataset at ``uri``, which need not exist yet.

        Raises:
            UsageError: datasets cannot be kept there.
        """
        return cls(backends.backend_at(uri))

    # -- configuration

    def info(self) -> DatasetInfo | None:
        """Its configuration, from a features file where its own was lost; ``None``: there is no dataset yet.

        Raises:
            UsageError: the configuration cannot be read, or there is no such bucket, or not with these credentials.
            ForeignFile: there is none, and what lies among the features is not ours.
        """
        name = CONFIG
        try:
            name, document = self._description()
            if not name:
                return None
            return DatasetInfo(config=DatasetConfig.from_json(document), weights=text(document, "weights"))
        except StoreRefused as error:
            raise UsageError(str(error)) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UsageError(f"{self._uri(name)} is damaged ({what}): restore it or give another --out") from None

    def existing(self) -> DatasetInfo:
        """Its configuration.

        Raises:
            UsageError: there is no dataset.
        """
        info = self.info()
        if info is None:
            raise UsageError(f"no dataset at {self.store.uri}: it has no {CONFIG}")
        return info

    def check(self, config: DatasetConfig) -> None:
        """Make sure that the dataset, if there is one, was made with ``config``.

        Raises:
            UsageError: it was not; the first setting that differs is named.
        """
        info = self.info()
        difference = None if info is None else info.config.difference(config)
        if difference is not None:
            raise UsageError(f"{self.store.uri} was made with other settings: {difference}; give another --out")

    def create(self, info: DatasetInfo) -> None:
        """Write the configuration, where there is none yet.

        Raises:
            UsageError: a run of another shard, started at the same time, has written another.
        """
        if not self.create_as(info.to_json()):
            self.check(info.config)

    def create_as(self, document: Document) -> bool:
        """Write the configuration of another dataset, with the versions that made it; False: there is one already."""
        return self.store.publish(CONFIG, json.dumps(document, indent=2).encode())

    def document(self) -> Document:
        """The configuration of a dataset that exists, as it was written."""
        return self._description()[1]

    def _description(self) -> tuple[str, Document]:
        """The file that holds the configuration, and what it says; no name: there is no dataset yet."""
        try:
            return CONFIG, document_of(json.loads(self.store.read(CONFIG)), name="the configuration")
        except MissingFile:
            for name in self._features()[:1]:
                return name, self._read(name, partial(read_description, uri=self._uri(name)))
        return "", {}

    # -- the plan

    def publish_plan(self, planned: pa.Table, *, token: str) -> None:
        """Add videos to the plan: rows of ``PLAN``, perhaps with a manifest's further columns."""
        for part in _parts(planned):
            keys = zip(part["video_id"].to_pylist(), part["attempts"].to_pylist(), strict=True)
            name = f"{PLAN_FOLDER}/{_digest(f'{video}.{attempts}' for video, attempts in keys)}.parquet"
            self._fence(token).publish(name, _parquet(part), stand_in=_parquet(part.slice(0, 0)))

    def adopt(self, name: str, source: "Dataset", *, token: str) -> None:
        """Take over a file of another dataset as it is, under the same name."""
        self._fence(token).replace(name, source.store.read(name), version=self.store.version(name))

    def plan_names(self) -> list[str]:
        """The files of the plan, each of a few thousand videos at most."""
        return _parquet_files(self.store.list(PLAN_FOLDER))

    def plan_schema_of(self, name: str) -> pa.Schema:
        """The columns of one file of the plan: ``PLAN``, and a manifest's own. Raises as ``plan_part``."""
        return self._read_ours(name, lambda file: earlier_versions.plan_schema(pq.ParquetFile(file).schema_arrow))

    def plan_part(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One file of the plan; ``columns``: only these.

        Raises:
            ForeignFile: it is damaged.
        """

        def read(file: pa.NativeFile) -> pa.Table:
            parquet = pq.ParquetFile(file)
            names = earlier_versions.plan_names(parquet.schema_arrow)
            wanted = names if columns is None else columns
            return earlier_versions.plan_table(parquet.read([names[column] for column in wanted]))

        return self._read_ours(name, read)

    def plan_parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The plan, a few thousand videos at a time; ``columns``: only these."""
        for name in self.plan_names():
            yield self.plan_part(name, columns)

    # -- what is done

    def settled(self) -> pa.Table:
        """What is settled, a ``SETTLED`` row each, read from the footers of the features files alone."""
        return concat(list(self.settled_parts()), SETTLED)

    def settled_parts(self) -> Iterator[pa.Table]:
        """What is settled, file by file. Raises as ``footers``."""
        return (footer.settled() for _, footer in self.footers())

    def footers(self) -> Iterator[tuple[str, Footer]]:
        """The features files and what each says of itself.

        Raises:
            ForeignFile: what lies among the features is not ours, or damaged; a reader would stumble over it too.
        """
        names = self._features()
        with ThreadPoolExecutor(_FOOTER_THREADS, thread_name_prefix="footer") as pool:
            for at in range(0, len(names), _FOOTERS_AT_ONCE):  # not all: the driver's memory is bounded
                some = names[at : at + _FOOTERS_AT_ONCE]
                yield from zip(some, pool.map(self._footer, some), strict=True)

    def rows(self, name: str, spans: Sequence[tuple[int, int]], *, schema: pa.Schema) -> list[pa.Table]:
        """The rows of each span, its first row and how many, of a features file. Raises as ``footers``."""
        return self._read(name, partial(read_rows, spans=spans, schema=schema, uri=self._uri(name)))

    def publish_features(self, embedded: pa.Table, info: DatasetInfo, *, token: str) -> int:
        """Commit finished segments, ``EMBEDDED`` rows, in one file.

        The name follows from the segments inside, so that a commit that is repeated finds itself done; the bytes follow
        from the rows, whatever their order. A segment that is there twice counts once.

        Returns:
            The file's size in bytes; 0: it was there already.

        Raises:
            LeaseLost: another run has taken over.
            StorageError: the store failed.
        """
        embedded = last_attempts(embedded)
        return self._publish(settled_of(embedded), embedded, info, token=token)

    def settle(self, entries: Sequence[Settled], info: DatasetInfo, *, token: str) -> int:
        """Commit outcomes that have no rows: videos that failed as a whole. Returns bytes written."""
        parts = (entries[at : at + _ROWS_PER_PART] for at in range(0, len(entries), _ROWS_PER_PART))
        return sum(self._publish(part, None, info, token=token) for part in parts)

    def publish_rows(self, rows: pa.Table, entries: Sequence[Settled], *, token: str) -> int:
        """Commit rows of ``features`` as they are, in the order of their ``entries``.

        The name is as by ``publish_features``, and so are the result and what is raised.
        """
        stand_in = file_of(rows.slice(0, 0), []).to_pybytes()
        return self._commit(file_of(rows, entries).to_pybytes(), entries, stand_in=stand_in, token=token)

    def _publish(self, entries: Sequence[Settled], embedded: pa.Table | None, info: DatasetInfo, *, token: str) -> int:
        data = features_file(embedded, entries, info.config, weights=info.weights).to_pybytes()
        stand_in = features_file(None, [], info.config, weights=info.weights).to_pybytes()
        return self._commit(data, entries, stand_in=stand_in, token=token)

    def _commit(self, data: bytes, entries: Sequence[Settled], *, stand_in: bytes, token: str) -> int:
        keys = sorted(f"{entry.video_id}.{entry.segment}.{entry.attempts}" for entry in entries)
        is_new = self._fence(token).publish(f"{FEATURES}/{_digest(keys)}.parquet", data, stand_in=stand_in)
        return len(data) if is_new else 0

    def _footer(self, name: str) -> Footer:
        return self._read(name, partial(read_footer, uri=self._uri(name)))

    def _features(self) -> list[str]:
        return _parquet_files(self.store.list(FEATURES))

    # -- what is current

    def listing_version(self) -> str | None:
        """Of what ``listing`` gives, for ``replace_listing``; ``None``: there is none yet."""
        return self.store.version(LISTING)

    def replace_listing(self, video_ids: pa.Array, *, version: str | None, token: str) -> bool:
        """Remember which videos the input holds now; False: it is no longer the ``version`` that this builds on."""
        return self._fence(token).replace(LISTING, _parquet(pa.table({"video_id": video_ids})), version=version)

    def listing(self) -> pa.ChunkedArray | None:
        """The ids of the videos that the input last held; ``None``: that is not known."""
        try:
            return self._read_ours(LISTING, lambda file: pq.ParquetFile(file).read(["video_id"])["video_id"])
        except MissingFile:
            return None

    # -- what is derived

    def derived_versions(self, folder: str) -> dict[str, str]:
        """The files of a derived folder, each with its version, for ``replace_derived``."""
        return self.store.versions(folder)

    def replace_derived(self, name: str, table: pa.Table, *, version: str | None, token: str) -> bool:
        """Put a derived file in the place of its predecessor; False: that is no longer the ``version``."""
        return self._fence(token).replace(name, _parquet(table), version=version)

    def keep_derived(self, folder: str, names: frozenset[str], *, token: str) -> None:
        """Remove the files of a derived folder that are not among ``names``."""
        for name in self.store.list(folder):
            if name not in names:
                self._fence(token).remove(name)

    # -- what is there for a while

    def publish_run(self, name: str, data: bytes, *, token: str) -> None:
        """Put aside what ``run_piece`` reads again: one Arrow stream after the other."""
        self._fence(token).replace(name, data, version=None)

    def run_piece(self, name: str, offset: int, num_bytes: int) -> pa.Table:
        """The Arrow stream of ``num_bytes`` at ``offset``."""
        piece = self._read(name, lambda file: file.read_at(num_bytes, offset))
        return pa.ipc.open_stream(piece).read_all()

    def _fence(self, token: str) -> Fence:
        return self.backend.fence(token=token)

    def _uri(self, name: str) -> str:
        return f"{self.store.uri}/{name}"

    def _read(self, name: str, how: Callable[[pa.NativeFile], Result]) -> Result:
        """Read a file with patience: opening is not all that may fail."""

        def attempt() -> Result:
            with self.store.open_input(name) as file:
                try:
                    return how(file)
                except OSError as error:
                    raise Transient(error.strerror or str(error)) from None

        return persistently(attempt, uri=self._uri(name), retry=DEFAULT_RETRY)

    def _read_ours(self, name: str, how: Callable[[pa.NativeFile], Result]) -> Result:
        """Read one of our own files, which can be made again.

        Raises:
            ForeignFile: it is damaged.
        """

        def read(file: pa.NativeFile) -> Result:
            try:
                return how(file)
            except (pa.ArrowException, KeyError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise ForeignFile(f"{self._uri(name)} is damaged: remove it and run the command again") from None

        return self._read(name, read)


def plan_schema(fields: Sequence[pa.Field]) -> pa.Schema:
    """``PLAN`` with a manifest's further columns."""
    return pa.schema([*PLAN, *fields])


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(at, _ROWS_PER_PART) for at in range(0, len(table), _ROWS_PER_PART))


def _parquet_files(names: Iterable[str]) -> list[str]:
    """What readers of the folder see: their globs look for ``*.parquet``, and pass over hidden files."""
    return [name for name in names if name.endswith(".parquet") and name.rpartition("/")[2][0] not in "._"]


def _digest(keys: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def leased(dataset: Dataset, *, shard: Shard) -> contextlib.AbstractContextManager[str]:
    """The token of the lease of a shard of the dataset, held until the end of the ``with``."""
    return backends.leased(dataset.backend, shard=shard)
