"""The training loop of one worker: epochs over its share of the pictures, a checkpoint after each."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from pipeline.lake.dataset import Dataset
from pipeline.models.registry import load_model
from pipeline.training.examples import PARTS
from pipeline.training.finetune.checkpoints import (
    Checkpoint,
    Checkpoints,
    Course,
    EpochScores,
    adam_tensors,
    restore_adam,
)
from pipeline.training.finetune.network import PicturesToScores
from pipeline.training.finetune.order import batches_of, epoch_order, share_of
from pipeline.training.finetune.pictures import Pictures, Places
from pipeline.training.finetune.request import LearningOptions

_TRAIN = PARTS.index("train")
_VALIDATION = PARTS.index("validation")
_MEASURE_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """How a network is to be trained."""

    model: str
    weights: str
    labels: tuple[str, ...]
    learning: LearningOptions
    class_weights: tuple[float, ...]
    """What an error on each of the labels counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingJob:
    """All that a worker is given, on whatever node."""

    plan: TrainingPlan
    folder: str
    inputs: str
    """The dataset of the pictures."""
    digest: str
    token: str
    places: Places
    targets: NDArray[np.int64]
    """``int64[N]``: the label of each picture."""
    parts: NDArray[np.int8]

    def numbers_of(self, part: int) -> NDArray[np.int64]:
        """The pictures of a part."""
        return np.flatnonzero(self.parts == part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of the workers, and its network as it trains: by itself, or in step with the others."""

    rank: int
    num_workers: int
    device: torch.device
    network: PicturesToScores
    in_step: nn.Module
    """The network itself or, around it, what averages gradients over the workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What the best network says of the pictures that it has not learned from or, without any, of the others."""

    course: Course
    numbers: NDArray[np.int64]
    scores: NDArray[np.float32]
    """``float32[N, labels]`` before softmax."""


def new_network(plan: TrainingPlan) -> PicturesToScores:
    """The network before its first epoch, the same in every worker."""
    model = load_model(plan.model, weights=plan.weights)
    return PicturesToScores(model, num_labels=len(plan.labels), trained=plan.learning.train, seed=plan.learning.seed)


class Training:
    """One worker's part of a training."""

    def __init__(self, job: TrainingJob, worker: Worker) -> None:
        self._job = job
        self._worker = worker
        self._pictures = Pictures(Dataset.at(job.inputs), job.places)
        self._checkpoints = Checkpoints(job.folder, digest=job.digest)
        parameters = [parameter for _, parameter in worker.network.trained_parameters()]
        self._optimizer: Optimizer = Adam(parameters, lr=job.plan.learning.learning_rate)
        weights = torch.tensor(job.plan.class_weights, dtype=torch.float32, device=worker.device)
        self._loss = nn.CrossEntropyLoss(weight=weights)
        self._targets = torch.from_numpy(job.targets)
        self._course = Course(digest=job.digest)
        self._best: dict[str, Tensor] = {}

    def run(self) -> Scored | None:
        """Train from the last checkpoint on; the first worker then has the best network answer, the others do not.

        Raises:
            LeaseLost: another run has taken over.
            StorageError: the store failed.
        """
        self._go_on()
        for epoch in range(len(self._course.epochs) + 1, self._job.plan.learning.epochs + 1):
            began = time.monotonic()
            loss = self._learn(epoch)
            if self._worker.rank == 0:
                self._close(epoch, loss=loss, began=began)
        return self._scored() if self._worker.rank == 0 else None

    def _go_on(self) -> None:
        checkpoint = self._checkpoints.last()
        if checkpoint is None:
            return
        self._course, self._best = checkpoint.course, checkpoint.best
        self._worker.network.load_state_dict(checkpoint.network)
        restore_adam(self._optimizer, self._worker.network, checkpoint.adam)

    def _learn(self, epoch: int) -> float:
        """One epoch; returns the mean loss of this worker's batches."""
        learning, worker = self._job.plan.learning, self._worker
        # Of dropout: an epoch that is begun again is the same.
        torch.manual_seed(int(np.random.SeedSequence([learning.seed, epoch, worker.rank]).generate_state(1)[0]))
        numbers = self._job.numbers_of(_TRAIN)
        order = epoch_order(len(numbers), window=self._pictures.window, seed=learning.seed, epoch=epoch)
        share = share_of(numbers[order], rank=worker.rank, num_workers=worker.num_workers)
        worker.in_step.train()
        total = torch.zeros((), device=worker.device)
        for batch, pixels in self._pictures.batches(batches_of(share, batch_size=learning.batch_size)):
            self._optimizer.zero_grad()
            loss = self._loss(worker.in_step(self._sent(pixels)), self._targets[batch].to(worker.device))
            loss.backward()
            self._optimizer.step()
            total += loss.detach() * len(batch)
        return float(total) / len(share)

    def _close(self, epoch: int, *, loss: float, began: float) -> None:
        """Measure what the epoch came to, and have it last."""
        validation = self._job.numbers_of(_VALIDATION)
        validation_loss = accuracy = None
        if len(validation):
            scores = torch.from_numpy(self._scores(validation)).to(self._worker.device)
            targets = self._targets[validation].to(self._worker.device)
            validation_loss = float(self._loss(scores, targets))
            accuracy = float((scores.argmax(dim=1) == targets).float().mean())
        of_epoch = EpochScores(
            epoch=epoch,
            loss=loss,
            validation_loss=validation_loss,
            validation_accuracy=accuracy,
            seconds=round(time.monotonic() - began, 3),
        )
        self._course = Course(digest=self._course.digest, epochs=(*self._course.epochs, of_epoch))
        state = {name: value.cpu() for name, value in self._worker.network.state_dict().items()}
        if self._course.best_epoch == epoch:
            self._best = {name: value.clone() for name, value in state.items()}
        adam = adam_tensors(self._optimizer, self._worker.network)
        checkpoint = Checkpoint(course=self._course, network=state, best=self._best, adam=adam)
        self._checkpoints.publish(checkpoint, token=self._job.token)

    def _scored(self) -> Scored:
        self._worker.network.load_state_dict(self._best)
        numbers = np.flatnonzero(self._job.parts != _TRAIN)
        if not len(numbers):
            numbers = self._job.numbers_of(_TRAIN)
        return Scored(course=self._course, numbers=numbers, scores=self._scores(numbers))

    def _scores(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """What the network says of pictures, ``float32[N, labels]``."""
        scores = np.empty((len(numbers), len(self._job.plan.labels)), np.float32)
        done = 0
        with _measuring(self._worker.network):
            for batch, pixels in self._pictures.batches(_in_turn(numbers)):
                scores[done : done + len(batch)] = self._worker.network(self._sent(pixels)).cpu().numpy()
                done += len(batch)
        return scores

    def _sent(self, pixels: NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(self._worker.device, non_blocking=True)


@contextmanager
def _measuring(network: nn.Module) -> Iterator[None]:
    network.eval()
    with torch.inference_mode():
        yield


def _in_turn(numbers: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
    return [numbers[at : at + _MEASURE_BATCH] for at in range(0, len(numbers), _MEASURE_BATCH)]
