"""What happens to features before a head sees them, in batch and live by the same code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.models.heads.arrays import Arrays, Shape, prefixed

Features = NDArray[np.float32]

MAX_DIM = 1 << 22
"""No head takes longer vectors: each ``delta`` doubles them."""


class Step(Protocol):
    """One step. Each row is computed by itself, but for ``delta``."""

    def apply(self, x: Features, *, runs: NDArray[np.int64]) -> Features:
        """Map ``float32[T, D]`` to ``float32[T, D']``.

        Args:
            x: the features of samples in the order of time.
            runs: ``int64[T]``: samples beside each other with equal numbers are of one run; a run looks not back into
                the one before it.
        """

    def arrays(self) -> Arrays:
        """Its numbers, by the names that ``shapes_of`` gives them."""


class L2(Step):
    """Vectors of length 1; one of zeros stays one."""

    def apply(self, x: Features, *, runs: NDArray[np.int64]) -> Features:
        """As ``Step.apply``."""
        squares: Features = np.einsum("td,td->t", x, x)
        squares[squares == 0] = 1
        lengths: Features = np.sqrt(squares)
        return np.divide(x, lengths[:, None], dtype=np.float32)

    def arrays(self) -> Arrays:
        """None."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardize(Step):
    """``(x - mean) / scale``."""

    mean: Features
    scale: Features

    def apply(self, x: Features, *, runs: NDArray[np.int64]) -> Features:
        """As ``Step.apply``."""
        scaled: Features = (x - self.mean) / self.scale
        return scaled

    def arrays(self) -> Arrays:
        """As ``Step.arrays``."""
        return {"mean": self.mean, "scale": self.scale}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pca(Step):
    """``(x - mean) components^T``."""

    mean: Features
    components: Features
    """``float32[K, D]``."""

    def apply(self, x: Features, *, runs: NDArray[np.int64]) -> Features:
        """As ``Step.apply``."""
        projected: Features = np.matmul(x - self.mean, self.components.T, dtype=np.float32)
        return projected

    def arrays(self) -> Arrays:
        """As ``Step.arrays``."""
        return {"mean": self.mean, "components": self.components}


class Delta(Step):
    """The difference to the previous sample of the run, zero for the first, appended to the vector."""

    def apply(self, x: Features, *, runs: NDArray[np.int64]) -> Features:
        """As ``Step.apply``."""
        num, dim = x.shape
        joined = np.zeros((num, 2 * dim), np.float32)
        joined[:, :dim] = x
        if num > 1:
            goes_on = runs[1:] == runs[:-1]
            np.subtract(x[1:], x[:-1], out=joined[1:, dim:], where=goes_on[:, None])
        return joined

    def arrays(self) -> Arrays:
        """None."""
        return {}


def apply_steps(steps: Sequence[Step], x: Features, *, runs: NDArray[np.int64]) -> Features:
    """All steps in their order."""
    for step in steps:
        x = step.apply(x, runs=runs)
    return x


def shapes_of(names: Sequence[str], *, dim: int) -> tuple[dict[str, Shape], int]:
    """The arrays that steps of these names have, by their names in a head's file, and the length of their vectors.

    Raises:
        ValueError: vectors would have more than ``MAX_DIM`` values, or a ``pca`` more than it gets.
    """
    shapes: dict[str, Shape] = {}
    for at, name in enumerate(names):
        if name == "standardize":
            shapes |= {f"{_prefix(at)}{part}": Shape(dtype="float32", sizes=(dim,)) for part in ("mean", "scale")}
        elif name.startswith("pca:"):
            num = int(name.removeprefix("pca:"))
            if num > dim:
                raise ValueError(f"{name} of vectors of {dim} values; give at most pca:{dim}")
            shapes[f"{_prefix(at)}mean"] = Shape(dtype="float32", sizes=(dim,))
            shapes[f"{_prefix(at)}components"] = Shape(dtype="float32", sizes=(num, dim))
            dim = num
        elif name == "delta":
            dim *= 2
        if dim > MAX_DIM:
            raise ValueError(f"the steps make vectors of {dim} values; a head takes at most {MAX_DIM}")
    return shapes, dim


def steps_of(names: Sequence[str], arrays: Arrays) -> tuple[Step, ...]:
    """The steps of a head, from arrays that ``shapes_of`` describes.

    Raises:
        ValueError: a scale is not above zero.
    """
    return tuple(_step(name, prefixed(arrays, _prefix(at))) for at, name in enumerate(names))


def arrays_of(steps: Sequence[Step]) -> Arrays:
    """The numbers of all steps, by their names in a head's file."""
    return {f"{_prefix(at)}{name}": array for at, step in enumerate(steps) for name, array in step.arrays().items()}


def _step(name: str, arrays: Arrays) -> Step:
    if name == "l2":
        return L2()
    if name == "delta":
        return Delta()
    if name == "standardize":
        if not (arrays["scale"] > 0).all():
            raise ValueError("the scale of standardize is not above zero")
        return Standardize(mean=arrays["mean"], scale=arrays["scale"])
    return Pca(mean=arrays["mean"], components=arrays["components"])


def _prefix(at: int) -> str:
    return f"step{at}."
