"""The folder of one head: its versions, each of which appears whole or not at all, and what a training keeps there."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import RunError, UsageError
from pipeline.lake.publishing import backends
from pipeline.lake.publishing.lease import Backend, Fence
from pipeline.lake.publishing.store import MissingFile, Store
from pipeline.models.heads.artifact import read_document
from pipeline.models.heads.files import CURRENT, METRICS
from pipeline.models.heads.registry import current_bytes, versions_in
from pipeline.records.documents import Document, document_of, flag, text, whole
from pipeline.records.shards import WHOLE
from pipeline.training.made_by import made_by_of

_FINISHING = "_vidlake/finishing.json"
_CHECKPOINTS = "_vidlake/checkpoints"


def version_made_by(store: Store, digest: str) -> int | None:
    """The latest version in a head's folder that was made by what has this digest; ``None``: there is none.

    One that is published but, because its training was killed just then, not finished is none yet.
    """
    if store.version(_FINISHING) is not None:
        return None
    for version in reversed(versions_in(store, "")):
        with contextlib.suppress(UsageError):  # a damaged one is no reason not to make another one
            made_by = made_by_of(read_document(store, f"{version}/{METRICS}"))
            if made_by is not None and made_by.digest == digest:
                return version
    return None


@contextlib.contextmanager
def head_place(backend: Backend) -> Iterator["HeadPlace"]:
    """The folder of a head under its lease, made where there is none; raises as ``backends.leased`` does."""
    with backends.leased(backend, slot=WHOLE) as token:
        place = HeadPlace(backend, token=token)
        place.finish()
        yield place


class HeadPlace:
    """The folder of a head, whose lease is held. All methods raise ``LeaseLost`` where another run has taken over."""

    def __init__(self, backend: Backend, *, token: str) -> None:
        self.store = backend.store
        self._fence = backend.fence(token=token)

    @property
    def next_version(self) -> int:
        """The number that the next version gets."""
        return max(versions_in(self.store, ""), default=0) + 1

    def publish(self, files: Mapping[str, bytes], *, version: int, digest: str, uses_it: bool) -> None:
        """Make a version appear, and with ``uses_it`` be the one in use.

        Raises:
            RunError: somebody has put another one in its place.
        """
        note = _Note(version=version, digest=digest, uses_it=uses_it)
        self._replace(_FINISHING, json.dumps(note.to_json()).encode())
        if not self.store.publish_folder(str(version), files):
            raise RunError(f"{self.store.uri}/{version} is there already: run the same command again")
        self.finish()

    def finish(self) -> None:
        """Finish what a training that was killed while it published has left."""
        note = self._note()
        if note is not None and note.version in versions_in(self.store, ""):
            if note.uses_it:
                self._replace(CURRENT, current_bytes(note.version))
            StoredCheckpoints(self.store, self._fence, digest=note.digest).clear()
        self._fence.remove(_FINISHING)

    def checkpoints(self, digest: str) -> "StoredCheckpoints":
        """Where a training keeps its state; that of trainings by something else is removed."""
        checkpoints = StoredCheckpoints(self.store, self._fence, digest=digest)
        checkpoints.clear_others()
        return checkpoints

    def _note(self) -> "_Note | None":
        try:
            return _Note.from_json(document_of(json.loads(self.store.read(_FINISHING)), name="the note"))
        except MissingFile:
            return None
        except (ValueError, KeyError, TypeError):
            return None  # nobody else's business, and nothing but a version in use hangs on it

    def _replace(self, name: str, data: bytes) -> None:
        replace(self.store, self._fence, name, data)


class StoredCheckpoints:
    """The state of a training, in the folder of its head: a ``Checkpoints``."""

    def __init__(self, store: Store, fence: Fence, *, digest: str) -> None:
        self._store = store
        self._fence = fence
        self._name = f"{_CHECKPOINTS}/{digest[:24]}"

    def load(self) -> bytes | None:
        """What was saved last; ``None``: nothing was."""
        with contextlib.suppress(MissingFile):
            return self._store.read(self._name)
        return None

    def save(self, data: bytes) -> None:
        """Put ``data``, whole, in the place of what was saved before."""
        replace(self._store, self._fence, self._name, data)

    def clear(self) -> None:
        """Remove what was saved."""
        self._fence.remove(self._name)

    def clear_others(self) -> None:
        """Remove what trainings by something else have saved."""
        for name in self._store.list(_CHECKPOINTS):
            if name != self._name:
                self._fence.remove(name)


def replace(store: Store, fence: Fence, name: str, data: bytes) -> None:
    """Put a file in the place of the one that is there, if any, while the lease is held."""
    while not fence.replace(name, data, version=store.version(name)):
        continue  # ``heads --use`` was quicker


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """Of a version that is about to appear: what is still to do once it is there."""

    version: int
    digest: str
    uses_it: bool

    def to_json(self) -> Document:
        return {"version": self.version, "digest": self.digest, "uses_it": self.uses_it}

    @classmethod
    def from_json(cls, document: Document) -> "_Note":
        return cls(
            version=whole(document, "version"), digest=text(document, "digest"), uses_it=flag(document, "uses_it")
        )
