"""The dataset: its configuration, its tables, and how rows are committed to them."""

import contextlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version

import pyarrow as pa

from pipeline import __version__
from pipeline.errors import UsageError
from pipeline.lake.appended import Appended
from pipeline.lake.config import DatasetConfig
from pipeline.lake.declarations import declare
from pipeline.lake.files import DatasetFiles
from pipeline.lake.publishing import backends
from pipeline.lake.publishing.lease import Backend
from pipeline.lake.publishing.slots import Slot
from pipeline.lake.publishing.store import MissingFile, StoreRefused
from pipeline.records.documents import Document, document_of, text
from pipeline.records.rows import feature_table, last_attempts, settled_of
from pipeline.records.settled import Settled
from pipeline.records.tables import CAPTURED_AT, FEATURES, Table, features_table, inputs_table, metadata_of

CONFIG = "_vidlake/config.json"
_ENTRIES_PER_FILE = 5_000
_LIBRARIES = ("av", "torch", "torchvision", "timm", "pyarrow", "ray")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """The configuration of a dataset and, so that it can be run again by itself, where its weights are from."""

    config: DatasetConfig
    weights: str
    has_captured_at: bool = True
    """Whether its rows say when they were captured: those of earlier versions do not."""

    def to_json(self) -> Document:
        """The document under ``vidlake`` in every features file, and in ``_vidlake/config.json``."""
        return {
            **self.config.to_json(),
            "weights": self.weights,
            **({CAPTURED_AT: True} if self.has_captured_at else {}),
            "fingerprint": self.config.fingerprint,
            "versions": dict(_versions()),
        }

    @classmethod
    def from_json(cls, document: Document) -> "DatasetInfo":
        """The inverse of ``to_json``; raises as ``DatasetConfig.from_json`` does."""
        return cls(
            config=DatasetConfig.from_json(document),
            weights=text(document, "weights"),
            has_captured_at=document.get(CAPTURED_AT) is True,
        )

    @property
    def features(self) -> Table:
        """The ``features`` table of the dataset."""
        model, metadata, is_dated = self.config.model, metadata_of(self.to_json()), self.has_captured_at
        if self.config.content == "inputs":
            size = model.preprocessing.sample_bytes
            return inputs_table(size, metadata=metadata, has_captured_at=is_dated)
        windows = self.config.windows
        return features_table(
            model.dim,
            dtype=self.config.dtype,
            metadata=metadata,
            has_windows=windows is not None and not windows.keeps_samples,
            has_captured_at=is_dated,
        )


@cache
def _versions() -> dict[str, str]:
    """Of what makes rows. Looking them up takes longer than a stream's commit."""
    versions = {name: version(name) for name in _LIBRARIES}
    return {"vidlake": __version__, "python": platform.python_version(), **versions}


class Dataset:
    """A dataset that exists or is about to. Publishing needs the token of a lease that is held."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.store = backend.store
        self.files = DatasetFiles(backend)

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

        What it says is data that somebody else may have written: see ``trust.trusted``.

        Raises:
            UsageError: the configuration cannot be read, or there is no such bucket, or not with these credentials.
            ForeignFile: there is none, and what lies among the features is not ours.
        """
        name = CONFIG
        try:
            name, document = self._description()
            return DatasetInfo.from_json(document) if name else None
        except StoreRefused as error:
            raise UsageError(str(error)) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            what = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UsageError(f"{self.files.uri(name)} is damaged ({what}): restore it or give another --out") from None

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

    def create(self, info: DatasetInfo) -> DatasetInfo:
        """Write the configuration, where there is none yet.

        Returns:
            How its rows are made: one of an earlier version keeps the columns that it has.

        Raises:
            UsageError: a run of another shard, started at the same time, has written another.
        """
        if self.create_as(info.to_json()):
            return info
        self.check(info.config)
        return replace(info, has_captured_at=self.existing().has_captured_at)

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
            for name in self.features.names()[:1]:
                return name, self.features.description(name)
        return "", {}

    # -- tables

    @property
    def features(self) -> Appended:
        """The files of the ``features`` table."""
        return self.appended(FEATURES)

    def appended(self, name: str) -> Appended:
        """The files of an appended table, to be read; ``publish`` adds to them."""
        return Appended(self.files, name)

    def publish(self, table: Table, rows: pa.Table, entries: Sequence[Settled], *, token: str) -> int:
        """Commit rows of an appended table, in the order of the ``entries`` that they belong to, in one file.

        Returns:
            The file's size in bytes; 0: it was there already.

        Raises:
            UsageError: the dataset has a table of this name that was made in another way.
            LeaseLost: another run has taken over.
            StorageError: the store failed.
        """
        if table.growth != "appended":
            raise ValueError(f"{table.name} is derived: its files are replaced whole")
        declare(self.files, table, token=token)
        return self.appended(table.name).publish(rows.cast(table.schema), entries, token=token)

    def publish_features(self, embedded: pa.Table, info: DatasetInfo, *, token: str) -> int:
        """Commit finished segments, ``EMBEDDED`` rows, in one file; returns and raises as ``publish`` does.

        The bytes follow from the rows, whatever their order. A segment that is there twice counts once.
        """
        embedded, table = last_attempts(embedded), info.features
        return self.publish(table, feature_table(embedded, schema=table.schema), settled_of(embedded), token=token)

    def settle(self, entries: Sequence[Settled], info: DatasetInfo, *, token: str) -> int:
        """Commit outcomes that have no rows: videos that failed as a whole. Returns bytes written."""
        return self.settle_in(info.features, entries, token=token)

    def settle_in(self, table: Table, entries: Sequence[Settled], *, token: str) -> int:
        """As ``settle``, in a table of the dataset."""
        parts = (entries[at : at + _ENTRIES_PER_FILE] for at in range(0, len(entries), _ENTRIES_PER_FILE))
        return sum(self.publish(table, table.schema.empty_table(), part, token=token) for part in parts)

    def settled(self) -> pa.Table:
        """What is settled, a ``SETTLED`` row each, read from the footers of the features files alone."""
        return self.features.settled()

    def settled_parts(self) -> Iterator[pa.Table]:
        """What is settled, file by file. Raises as ``Appended.footers``."""
        return self.features.settled_parts()


def leased(dataset: Dataset, *, slot: Slot) -> contextlib.AbstractContextManager[str]:
    """The token of the lease of a slot of the dataset, held until the end of the ``with``."""
    return backends.leased(dataset.backend, slot=slot)
