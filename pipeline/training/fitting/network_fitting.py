"""Networks are trained by Adam, stopped by the validation part, and go on from a checkpoint with the same bytes."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.models.heads.sequences import padded_sequences
from pipeline.training.fitting.fitted import Checkpoints, Epoch, Say
from pipeline.training.fitting.losses import Loss
from pipeline.training.fitting.minibatches import minibatches
from pipeline.training.fitting.scratch import Part
from pipeline.training.fitting.training_state import TrainingState, state_bytes, state_from

PATIENCE = 10
"""Epochs without a better loss on the validation part, after which training stops."""

_LEAST_GAIN = 1e-4
"""Of the best loss: what is better by less is no reason to go on."""

SAVE_EVERY_S = 5.0
"""A checkpoint is made."""
_SAY_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a network is trained."""

    loss: Loss
    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    identity: str
    """Of this training: a checkpoint of another one is not gone on from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What became of a network."""

    weights: dict[str, Tensor]
    history: tuple[Epoch, ...]
    best_epoch: int


class Training:
    """One training: a network, its optimizer, and how far they are."""

    def __init__(self, network: nn.Module, plan: Plan, *, checkpoints: Checkpoints, say: Say) -> None:
        self._network = network
        self._plan = plan
        self._checkpoints = checkpoints
        self._say = say
        self._optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate, foreach=False)
        self._state = TrainingState(weights=dict(network.state_dict()), moments={}, best={})
        self._saved_s = self._said_s = time.monotonic()

    def run(self, training: Part, validation: Part | None) -> Trained:
        """Train until the epochs are over, or the validation part says that more does harm."""
        self._go_on()
        state = self._state
        while state.epoch < self._plan.epochs and not self._is_over():
            self._epoch(training)
            validation_loss = None if validation is None else self._mean_loss(validation)
            state.history.append(
                Epoch(train_loss=state.loss_sum / max(state.weight_sum, 1e-12), validation_loss=validation_loss)
            )
            state.batch, state.loss_sum, state.weight_sum = 0, 0.0, 0.0
            if validation_loss is None or self._is_best(validation_loss):
                state.best = {name: tensor.clone() for name, tensor in self._network.state_dict().items()}
                state.best_epoch = state.epoch
            self._report()
            self._save_now_and_then()
        return Trained(weights=state.best, history=tuple(state.history), best_epoch=state.best_epoch or 0)

    def _epoch(self, part: Part) -> None:
        state, plan = self._state, self._plan
        self._network.train()
        order = minibatches(len(part), size=plan.batch_size, seed=plan.seed, epoch=state.epoch)
        for at, places in enumerate(order):
            if at < state.batch:
                continue
            self._optimizer.zero_grad()
            total, weight = plan.loss.sums(*outputs_and_targets(self._network, part, places))
            (total / max(weight, 1e-12)).backward()  # type: ignore[no-untyped-call]  # torch has no type for it
            self._optimizer.step()
            state.loss_sum += float(total.detach())
            state.weight_sum += weight
            state.batch = at + 1
            self._save_now_and_then()

    def _mean_loss(self, part: Part) -> float:
        total, weight = 0.0, 0.0
        self._network.eval()
        with torch.inference_mode():
            for places in part.stretches():
                loss, num = self._plan.loss.sums(*outputs_and_targets(self._network, part, places))
                total, weight = total + float(loss), weight + num
        return total / max(weight, 1e-12)

    def _is_best(self, loss: float) -> bool:
        best = self._state.best_epoch
        before = None if best is None else self._state.history[best - 1].validation_loss
        return before is None or loss < before * (1 - _LEAST_GAIN)

    def _is_over(self) -> bool:
        best = self._state.best_epoch
        return best is not None and self._state.epoch - best >= PATIENCE

    def _go_on(self) -> None:
        data = self._checkpoints.load()
        if data is None:
            return
        state = state_from(data, identity=self._plan.identity, weights=self._network.state_dict())
        if state is None:
            return
        self._network.load_state_dict(state.weights)
        for name, parameter in self._network.named_parameters():
            if name in state.moments:
                self._optimizer.state[parameter] = dict(state.moments[name])
        self._state = state
        self._say(f"goes on after epoch {state.epoch} of {self._plan.epochs}, where an earlier run was stopped")

    def _save_now_and_then(self) -> None:
        now_s = time.monotonic()
        if now_s - self._saved_s < SAVE_EVERY_S:
            return
        self._state.weights = dict(self._network.state_dict())
        self._state.moments = {
            name: dict(self._optimizer.state[parameter])
            for name, parameter in self._network.named_parameters()
            if parameter in self._optimizer.state
        }
        self._checkpoints.save(state_bytes(self._state, identity=self._plan.identity))
        self._saved_s = time.monotonic()

    def _report(self) -> None:
        if time.monotonic() - self._said_s >= _SAY_EVERY_S:
            last = self._state.history[-1]
            validation = "" if last.validation_loss is None else f", on the validation part {last.validation_loss:.4f}"
            self._say(f"epoch {self._state.epoch} of {self._plan.epochs}: loss {last.train_loss:.4f}{validation}")
            self._said_s = time.monotonic()


def outputs_and_targets(network: nn.Module, part: Part, places: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Logits and targets of some units."""
    targets = torch.from_numpy(np.array(part.targets[places]))
    rows, begin, end = part.units(places)
    if part.is_sequences:
        logits: Tensor = network(padded_sequences(rows, begin, end), torch.from_numpy(end - begin))
    else:
        logits = network(torch.from_numpy(rows))
    return logits, targets
