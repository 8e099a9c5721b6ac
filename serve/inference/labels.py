"""The most probable of a model's classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.models.batching import Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One class, and how probable the model finds it, between 0 and 1."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The most probable classes of each of T features, the best first."""

    classes: tuple[str, ...]
    order: NDArray[np.intp]
    """``[T, top]``: numbers of classes."""
    probabilities: Features
    """``float32[T, top]``"""

    @classmethod
    def best(cls, probabilities: Features, *, classes: Sequence[str], top: int) -> Self:
        """The ``top`` most probable classes of each row of ``float32[T, classes]``."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        best = np.minimum(np.take_along_axis(probabilities, order, axis=1), 1)  # rounding may add up to more than 1
        return cls(classes=tuple(classes), order=order, probabilities=best)

    def labels(self, row: int) -> list[Label]:
        """Those of one feature."""
        return [
            Label(label=self.classes[at], probability=float(probability))
            for at, probability in zip(self.order[row], self.probabilities[row], strict=True)
        ]
