"""The best of a model's classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serve.inference.batching import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One class, and how probable the model finds it, between 0 and 1."""

    label: str
    probability: float


def best_labels(probabilities: Features, classes: Sequence[str], *, top: int) -> list[list[Label]]:
    """The ``top`` most probable classes of each row of ``float32[T, classes]``, the best first."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return [
        [Label(label=classes[at], probability=min(1.0, float(row[at]))) for at in best]
        for row, best in zip(probabilities, order, strict=True)
    ]
