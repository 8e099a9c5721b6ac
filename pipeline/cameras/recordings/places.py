"""Where the recordings of each stream lie: the lake remembers it, for ``fill`` and ``verify``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipeline.errors import StorageError, UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.publishing.store import MissingFile, Store
from pipeline.records.documents import Document, document_of, number_or_none, parts, text
from pipeline.storage.addresses import canonical_uri

_FOLDER = "_vidlake/recordings"
_MOST_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPlace:
    """An address under which a stream was recorded."""

    uri: str
    """Canonical."""
    keep: timedelta | None
    """How long recordings stay; ``None``: for good."""

    def to_json(self) -> Document:
        """What the lake remembers."""
        return {"uri": self.uri, "keep_s": None if self.keep is None else self.keep.total_seconds()}

    @classmethod
    def from_json(cls, document: Document) -> "RecordingPlace":
        """The inverse of ``to_json``. Raises ``KeyError``, ``TypeError``: it is no such document."""
        keep_s = number_or_none(document, "keep_s")
        return cls(uri=text(document, "uri"), keep=None if keep_s is None else timedelta(seconds=keep_s))


def remember(lake: str, stream: str, place: RecordingPlace) -> None:
    """Note in a lake that exists where a stream is recorded.

    Raises:
        UsageError: what is noted there is damaged.
        StorageError: the store failed.
    """
    store, name = Dataset.at(lake).store, f"{_FOLDER}/{stream}.json"
    for _ in range(_MOST_TRIES):
        version = store.version(name)
        known = [] if version is None else _read(store, name)
        others = [each for each in known if each.uri != place.uri]
        if [*others, place] == known:
            return
        document = {"places": [each.to_json() for each in (*others, place)]}
        if store.replace(name, json.dumps(document).encode(), version=version):
            return
    raise StorageError(f"{store.uri}/{name}: somebody else writes it all the time")


def remembered(lake: str, *, stream: str | None = None) -> Mapping[str, Sequence[RecordingPlace]]:
    """Where each stream was recorded, the latest address last; raises as ``remember`` does."""
    store = Dataset.at(lake).store
    if stream is not None:
        try:
            return {stream: _read(store, f"{_FOLDER}/{stream}.json")}
        except MissingFile:
            return {}
    names = [name for name in store.list(_FOLDER) if name.endswith(".json")]
    return {name.rpartition("/")[2].removesuffix(".json"): _read(store, name) for name in names}


def place_of(uri: str, *, keep: timedelta | None) -> RecordingPlace:
    """The place that ``--record`` and ``--keep`` name."""
    return RecordingPlace(uri=canonical_uri(uri), keep=keep)


def _read(store: Store, name: str) -> list[RecordingPlace]:
    try:
        document = document_of(json.loads(store.read(name)), name="places")
        return [RecordingPlace.from_json(each) for each in parts(document, "places")]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{store.uri}/{name} is damaged ({error}): remove it, and start the stream again") from None
