"""What a training that was killed goes on from: one file, which each epoch replaces whole."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.optim import Optimizer

from pipeline.errors import StorageError
from pipeline.lake.files import DatasetFiles
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.publishing.store import MissingFile
from pipeline.models.weights_notes import KEY, header_metadata
from pipeline.records.documents import Document, document_of, number, number_or_none, parts, text, whole
from pipeline.training.finetune.folder import CHECKPOINT
from pipeline.training.finetune.network import PicturesToScores, separate


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochScores:
    """How one epoch went."""

    epoch: int
    """Counted from 1."""
    loss: float
    """On the training part, while it was learning."""
    validation_loss: float | None
    """``None``: there is no validation part."""
    validation_accuracy: float | None
    seconds: float

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``asdict``."""
        return cls(
            epoch=whole(document, "epoch"),
            loss=number(document, "loss"),
            validation_loss=number_or_none(document, "validation_loss"),
            validation_accuracy=number_or_none(document, "validation_accuracy"),
            seconds=number(document, "seconds"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a training went until now."""

    digest: str
    """Of what it is trained on, and how: another one starts anew."""
    epochs: tuple[EpochScores, ...] = ()

    @property
    def best_epoch(self) -> int:
        """That of the least loss on the validation part; without one, the last; 0: there is none yet."""
        known = [each for each in self.epochs if each.validation_loss is not None]
        if known:
            return min(known, key=lambda each: each.validation_loss or 0.0).epoch
        return len(self.epochs)

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        return {"digest": self.digest, "epochs": [asdict(each) for each in self.epochs]}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``."""
        epochs = tuple(map(EpochScores.from_json, parts(document, "epochs")))
        return cls(digest=text(document, "digest"), epochs=epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A network after some epochs, after its best one, and what the optimizer remembers."""

    course: Course
    network: dict[str, Tensor]
    best: dict[str, Tensor]
    adam: dict[str, Tensor]
    """``NAME/KEY``: of each trained parameter, what Adam keeps of it."""

    def to_bytes(self) -> bytes:
        """The file; no pickle, so reading it runs nothing."""
        groups = {"network": self.network, "best": self.best, "adam": self.adam}
        tensors = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
        return save(separate(tensors), metadata={KEY: json.dumps(self.course.to_json())})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``to_bytes``."""
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "adam": {}}
        for name, value in load(data).items():
            group, _, own = name.partition("/")
            groups[group][own] = value
        return cls(course=_course(io.BytesIO(data).read), **groups)


class Checkpoints:
    """The checkpoint of one folder; publishing it needs the token of the folder's lease."""

    def __init__(self, folder: str, *, digest: str) -> None:
        backend = backend_at(folder)
        self._files = DatasetFiles(backend)
        self._digest = digest

    def course(self) -> Course:
        """How the training went until now, without reading what is large; of no epochs where there is none of it."""
        try:
            course = self._files.read(CHECKPOINT, lambda file: _course(file.read))
        except MissingFile:
            return Course(digest=self._digest)
        return course if course.digest == self._digest else Course(digest=self._digest)

    def last(self) -> Checkpoint | None:
        """The last one; ``None``: there is none, or it is of another training."""
        try:
            data = self._files.store.read(CHECKPOINT)
        except MissingFile:
            return None
        checkpoint = Checkpoint.from_bytes(data)
        return checkpoint if checkpoint.course.digest == self._digest else None

    def publish(self, checkpoint: Checkpoint, *, token: str) -> None:
        """Put it in the place of the one before.

        Raises:
            LeaseLost: another run has taken over.
            StorageError: the store failed, or somebody else wrote there.
        """
        version = self._files.store.version(CHECKPOINT)
        if not self._files.fence(token).replace(CHECKPOINT, checkpoint.to_bytes(), version=version):
            raise StorageError(f"{self._files.uri(CHECKPOINT)}: another training has replaced it")


def adam_tensors(optimizer: Optimizer, network: PicturesToScores) -> dict[str, Tensor]:
    """What Adam remembers of each trained parameter."""
    state = optimizer.state_dict()["state"]
    names = [name for name, _ in network.trained_parameters()]
    kept = ((names[at], key, value) for at, values in state.items() for key, value in values.items())
    return {f"{name}/{key}": torch.as_tensor(value) for name, key, value in kept}


def restore_adam(optimizer: Optimizer, network: PicturesToScores, tensors: Mapping[str, Tensor]) -> None:
    """Have Adam remember again; the inverse of ``adam_tensors``."""
    places = {name: at for at, (name, _) in enumerate(network.trained_parameters())}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter, _, key = name.rpartition("/")
        state.setdefault(places[parameter], {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _course(read: Callable[[int], bytes]) -> Course:
    return Course.from_json(document_of(json.loads(text(header_metadata(read), KEY)), name=KEY))
