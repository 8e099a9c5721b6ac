"""What training makes small: cross entropy, or binary cross entropy where several labels may hold, classes weighted."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.training.request import ClassWeights

_MOST_WEIGHT = 100.0
"""Of a label that hardly ever holds: its few units are not to be all that is learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A loss over units, each of which weighs what its labels do."""

    is_multi_label: bool
    weights: Tensor
    """``float32[C]``: of each class; where several labels may hold, of a label that holds against one that does not."""

    def sums(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """The sum over units, and what it has to be divided by for the mean."""
        if self.is_multi_label:
            losses = functional.binary_cross_entropy_with_logits(
                logits, targets, pos_weight=self.weights, reduction="sum"
            )
            return losses, float(targets.numel())
        labels = targets.argmax(dim=1)
        losses = functional.cross_entropy(logits, labels, weight=self.weights, reduction="sum")
        return losses, float(self.weights[labels].sum())


def loss_of(targets: NDArray[np.float32], *, is_multi_label: bool, class_weights: ClassWeights) -> Loss:
    """The loss for units of the training part with these targets, ``float32[U, C]``."""
    num, num_labels = targets.shape
    counts = np.zeros(num_labels)
    for start in range(0, num, 1 << 16):
        counts += targets[start : start + (1 << 16)].sum(axis=0, dtype=np.float64)
    weights = np.ones(num_labels)
    has_units = counts > 0
    if class_weights == "balanced" and is_multi_label:
        ratios = (num - counts[has_units]) / counts[has_units]
        weights[has_units] = np.clip(ratios, 1 / _MOST_WEIGHT, _MOST_WEIGHT)
    elif class_weights == "balanced":
        weights[has_units] = num / (has_units.sum() * counts[has_units])
    return Loss(is_multi_label=is_multi_label, weights=torch.tensor(weights, dtype=torch.float32))
