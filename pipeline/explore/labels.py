"""By words: what gives rows probabilities of labels, and which labels some words mean."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LabelScorer(Protocol):
    """A model's own classification layer, or a head."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What its columns mean."""

    @property
    def name(self) -> str:
        """Tells it from every other one: what was computed with it may be kept under this name."""

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of ``float32[N, D]``: ``float32[N, labels]``."""


def labels_of(words: str, labels: tuple[str, ...], *, whose: str) -> tuple[int, ...]:
    """The labels that some words mean: the one that is called so, or all in which the words stand.

    Raises:
        UsageError: there is none; those with the nearest names are named.
    """
    raise NotImplementedError
