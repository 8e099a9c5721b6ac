"""The state of a network's training as bytes, so that one that was killed goes on where it was."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.records.documents import document_of, number, number_or_none, parts, text, whole, whole_or_none
from pipeline.training.fitting.fitted import Epoch

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """Where a training is: at the minibatch ``batch`` of the epoch after those in ``history``."""

    weights: dict[str, Tensor]
    moments: dict[str, dict[str, Tensor]]
    """Adam's state, by the names of the weights; empty before its first step."""
    best: dict[str, Tensor]
    """The weights after the best epoch; empty before its end."""
    best_epoch: int | None = None
    """From 1."""
    batch: int = 0
    loss_sum: float = 0.0
    """Of the units of this epoch so far."""
    weight_sum: float = 0.0
    """By which it is to be divided for the mean."""
    history: list[Epoch] = field(default_factory=list)

    @property
    def epoch(self) -> int:
        """The one that is under way, from 0."""
        return len(self.history)


def state_bytes(state: TrainingState, *, identity: str) -> bytes:
    """The state as a ``.safetensors`` file; ``identity`` says which training it is of."""
    from safetensors.torch import save

    tensors = {f"weights.{name}": tensor for name, tensor in state.weights.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for name, moments in state.moments.items():
        tensors |= {f"{moment}.{name}": moments[moment] for moment in _MOMENTS}
    document = {
        "identity": identity,
        "best_epoch": state.best_epoch,
        "batch": state.batch,
        "loss_sum": state.loss_sum,
        "weight_sum": state.weight_sum,
        "history": [
            {"train_loss": epoch.train_loss, "validation_loss": epoch.validation_loss} for epoch in state.history
        ],
    }
    return save({name: t.detach().clone() for name, t in tensors.items()}, metadata={"training": json.dumps(document)})


def state_from(data: bytes, *, identity: str, weights: Mapping[str, Tensor]) -> TrainingState | None:
    """The inverse of ``state_bytes``.

    Returns:
        ``None``: it is damaged, or of another training than ``identity``, whose weights are of these shapes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(data[:8], "little")
        document = document_of(json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["training"]), name="the state")
        if text(document, "identity") != identity:
            return None
        tensors = load(data)
        history = [
            Epoch(train_loss=number(epoch, "train_loss"), validation_loss=number_or_none(epoch, "validation_loss"))
            for epoch in parts(document, "history")
        ]
        state = TrainingState(
            weights=_named(tensors, "weights."),
            moments=_moments(tensors, weights),
            best=_named(tensors, "best."),
            best_epoch=whole_or_none(document, "best_epoch"),
            batch=whole(document, "batch"),
            loss_sum=number(document, "loss_sum"),
            weight_sum=number(document, "weight_sum"),
            history=history,
        )
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return state if _shapes(state.weights) == _shapes(weights) else None


def _moments(tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    if not any(name.startswith("step.") for name in tensors):
        return {}
    return {name: {moment: tensors[f"{moment}.{name}"] for moment in _MOMENTS} for name in weights}


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
