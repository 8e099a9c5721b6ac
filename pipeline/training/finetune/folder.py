"""The folder that ``finetune`` fills: what it was begun with, what is on its way, and what stays."""

import json
from collections.abc import Mapping

from pipeline.errors import UsageError
from pipeline.lake.dataset import CONFIG, Dataset
from pipeline.lake.files import DatasetFiles
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.documents import Document, document_of

CHECKPOINT = "_vidlake/checkpoint.safetensors"
WEIGHTS = "weights.safetensors"
METRICS = "metrics.json"
CONFUSION = "confusion.png"
CARD = "README.md"
_SETTINGS = "_vidlake/finetune.json"
_INPUTS = "_vidlake/inputs"


class FinetuneFolder:
    """One folder. It holds weights once all else is there; the settings that it was begun with stand in it from then.

    Attributes:
        backend: whose lease is needed to write.
        inputs_uri: of the dataset of pictures that is there while a training goes on.
    """

    def __init__(self, uri: str) -> None:
        """Look at the folder of this address, which need not exist yet.

        Raises:
            UsageError: nothing can be kept there.
        """
        self.uri = uri
        self.backend = backend_at(uri)
        self.inputs_uri = f"{uri.rstrip('/')}/{_INPUTS}"
        self._files = DatasetFiles(self.backend)
        self._store = self.backend.store

    @property
    def shown(self) -> str:
        """Its address, for messages."""
        return self._store.uri

    @property
    def inputs(self) -> Dataset:
        """The pictures."""
        return Dataset.at(self.inputs_uri)

    def check(self, settings: Document) -> None:
        """Make sure that the folder, if there is anything in it, was begun with these settings.

        Raises:
            UsageError: it was not; the first setting that differs is named.
            StorageError: the store failed.
        """
        known = self._settings()
        if known is None:
            if self._store.version(WEIGHTS) is not None or self._store.version(CONFIG) is not None:
                raise UsageError(f"{self.shown} holds what finetune has not made: give another --out")
            return
        for name in dict.fromkeys((*known, *settings)):
            mine, asked = known.get(name), settings.get(name)
            if mine != asked:
                raise UsageError(
                    f"{self.shown} was made with other settings: {name} is {_told(mine)}, not {_told(asked)}; "
                    "give another --out"
                )

    @property
    def is_finished(self) -> bool:
        """Whether the weights are there, and so all else."""
        return self._store.version(WEIGHTS) is not None

    def metrics(self) -> Document:
        """The metrics of a folder that is finished."""
        return document_of(json.loads(self._store.read(METRICS)), name=METRICS)

    def begin(self, settings: Document, *, token: str) -> None:
        """Write down the settings, where they are not there yet. Raises as ``check``, and ``LeaseLost``."""
        data = json.dumps(settings, indent=2).encode()
        if not self._files.fence(token).replace(_SETTINGS, data, version=None):
            self.check(settings)

    def finish(self, files: Mapping[str, bytes], *, token: str) -> None:
        """Publish all files, the weights last: they say that the others are there.

        Raises:
            LeaseLost: another run has taken over.
            StorageError: the store failed.
        """
        for name in sorted(files, key=lambda name: name == WEIGHTS):
            self._files.fence(token).replace(name, files[name], version=self._store.version(name))

    def clear(self) -> None:
        """Remove what was needed on the way: the pictures, and last the checkpoint, which tells that some are left."""
        self._store.remove_folder(_INPUTS)
        self._store.remove(CHECKPOINT)

    def is_cleared(self) -> bool:
        """Whether nothing of what was needed on the way is left."""
        return self._store.version(CHECKPOINT) is None and self._store.version(f"{_INPUTS}/{CONFIG}") is None

    def _settings(self) -> Document | None:
        try:
            return document_of(json.loads(self._store.read(_SETTINGS)), name="the settings")
        except MissingFile:
            return None
        except (ValueError, TypeError, RecursionError):
            raise UsageError(f"{self._files.uri(_SETTINGS)} is damaged: give another --out") from None


def _told(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
