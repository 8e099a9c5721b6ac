"""What fitting a head takes and gives, for those who call it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Say = Callable[[str], None]
"""Takes a line for the person who waits."""


class Checkpoints(Protocol):
    """Where the state of a training is kept, so that one that was killed goes on: a file, or an object."""

    def load(self) -> bytes | None:
        """What was saved last; ``None``: nothing was."""

    def save(self, data: bytes) -> None:
        """Put ``data``, whole, in the place of what was saved before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What was measured after an epoch."""

    train_loss: float
    validation_loss: float | None
    """``None``: there is no validation part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Expected calibration errors on the validation part, of 15 bins of confidence."""

    before: float
    after: float
    num_units: int


class PartVectors(Protocol):
    """The labelled units of one part, in the order of the lake, as the head sees them: after its feature steps."""

    def __len__(self) -> int:
        """How many units."""

    def targets(self) -> NDArray[np.float32]:
        """``float32[U, C]``."""

    def groups(self) -> NDArray[np.int64]:
        """``int64[U]``."""

    def probabilities(self) -> Iterator[NDArray[np.float32]]:
        """What the fitted head says of them, temperature included: ``float32[u, C]``, some units at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A fitted head."""

    arrays: Mapping[str, NDArray[Any]]
    """What ``models.heads.artifact.head_bytes`` takes."""
    temperature: float | None
    """``None``: there is no validation part."""
    thresholds: tuple[float, ...]
    """For each label where several may hold; else none."""
    history: tuple[Epoch, ...]
    """An epoch after the other; empty for trees."""
    best_epoch: int | None
    """The epoch, from 1, whose numbers are kept; ``None`` for trees."""
    num_units_used: int
    """Of the training part."""
    share_used: float
    """Of the training part: below 1 where trees would not fit into memory."""
    calibration: Calibration | None
    """``None``: there is no validation part."""
    parts: Mapping[str, PartVectors]
    """By the names in ``examples.PARTS``; they lie in the scratch folder, and live as long as it does."""
