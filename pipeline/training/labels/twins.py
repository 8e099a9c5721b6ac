"""Videos that show the same under two names: their features agree wherever their pts do.

Candidates are found without comparing all pairs. Of each video a few samples are looked at, chosen by their pts alone,
so that copies choose the same ones. What is kept of a sample are numbers of cells into which random projections of its
feature fall: near features nearly always share a cell, others hardly ever do. Candidates are then compared sample by
sample.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.records.model_info import Precision
from pipeline.records.units import VideoSamples

_SAMPLES = 3
_GRIDS = 3
_PROJECTIONS = 4
"""Of each grid."""
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_COSINES: dict[Precision, float] = {"fp16": 0.999, "bf16": 0.98}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far apart two features of the same picture may be.

    By ``relative`` x max(1, largest value) in each value or, where that is ``None``, by the ``cosine``.
    """

    relative: float | None = None
    cosine: float = 1.0

    @classmethod
    def of(cls, precisions: list[Precision]) -> Self:
        """That of features which models of these precisions give."""
        cosines = [_COSINES[precision] for precision in precisions if precision in _COSINES]
        return cls(cosine=min(cosines)) if cosines else cls(relative=1e-5)

    def agree(self, one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
        """Whether all rows of two ``float32[N, D]`` agree."""
        if self.relative is not None:
            size = np.maximum(1, np.maximum(np.abs(one).max(axis=1), np.abs(other).max(axis=1)))
            return bool((np.abs(one - other).max(axis=1) <= self.relative * size).all())
        return bool((np.einsum("nd,nd->n", _unit(one), _unit(other)) >= self.cosine).all())

    def scaled(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
        """Features on a scale on which a projection of two that agree differs by about a known number at most."""
        wide = features.astype(np.float64)
        if self.relative is not None:
            size = np.maximum(1, np.abs(wide).max(axis=1, keepdims=True))
            return wide / size / np.sqrt(wide.shape[1]), 2 * self.relative
        return _unit(wide), float(np.sqrt(2 * (1 - self.cosine)))


class Sketches:
    """What is kept of videos, a few bytes each, to find those that may be twins."""

    def __init__(self, *, dim: int, tolerance: Tolerance) -> None:
        rng = np.random.default_rng(0)
        self._tolerance = tolerance
        self._directions = rng.standard_normal((dim, _GRIDS * _PROJECTIONS))
        self._shifts = rng.random(_GRIDS * _PROJECTIONS)
        self._videos = array("q")
        self._cells = array("Q")

    def add(self, video: int, samples: VideoSamples, features: NDArray[np.float32]) -> None:
        """Look at a video; one without samples has no twin."""
        keys = _keys(samples)
        chosen = np.argsort(keys, kind="stable")[:_SAMPLES]
        scaled, difference = self._tolerance.scaled(np.nan_to_num(features[chosen]))
        width = (16 if self._tolerance.relative is not None else 4) * difference
        places = np.floor(scaled @ self._directions / width + self._shifts).astype(np.int64).view(np.uint64)
        cells: NDArray[np.uint64] = np.add.outer(keys[chosen], np.arange(_GRIDS, dtype=np.uint64))
        for place in np.moveaxis(places.reshape(len(chosen), _GRIDS, _PROJECTIONS), 2, 0):
            cells = _mixed(cells ^ place)
        self._videos.extend([video] * cells.size)
        self._cells.frombytes(cells.tobytes())

    def candidates(self) -> Iterator[tuple[int, int]]:
        """Pairs of videos that may be twins, each once; of many that share a cell, enough pairs to join them all."""
        cells, videos = np.array(self._cells, np.uint64), np.array(self._videos, np.int64)
        order = np.lexsort((videos, cells))
        cells, videos = cells[order], videos[order]
        shares = cells[1:] == cells[:-1]
        first = np.maximum.accumulate(np.where(np.append(True, ~shares), np.arange(len(cells)), 0))[: len(cells)]
        pairs = np.concatenate(
            [
                np.stack([videos[first], videos], axis=1),
                np.stack([videos[:-1][shares], videos[1:][shares]], axis=1),
            ]
        )
        yield from map(tuple, np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist())


def are_twins(
    one: VideoSamples,
    one_features: NDArray[np.float32],
    other: VideoSamples,
    other_features: NDArray[np.float32],
    *,
    tolerance: Tolerance,
) -> bool:
    """Whether two videos have samples of the same pts, and agree in all of them."""
    both, at, other_at = np.intersect1d(_moments(one), _moments(other), assume_unique=True, return_indices=True)
    with np.errstate(invalid="ignore"):  # what float16 could not hold is infinite, and agrees with nothing
        return bool(len(both)) and tolerance.agree(one_features[at], other_features[other_at])


def _moments(samples: VideoSamples) -> NDArray[np.void]:
    moments = np.stack([samples.epochs.astype(np.int64), samples.pts], axis=1)
    return np.ascontiguousarray(moments).view([("epoch", np.int64), ("pts", np.int64)]).reshape(-1)


def _keys(samples: VideoSamples) -> NDArray[np.uint64]:
    """A number for each moment, as good as random, and the same in every video."""
    return _mixed(samples.pts.astype(np.int64).view(np.uint64) ^ _mixed(samples.epochs.astype(np.uint64)))


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection that leaves no pattern (the finaliser of splitmix64)."""
    numbers = numbers + _MIX[0]
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _MIX[1]
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _MIX[2]
    return numbers ^ (numbers >> np.uint64(31))


def _unit(features: NDArray[np.float64] | NDArray[np.float32]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: NDArray[np.float64] = wide / np.where(lengths == 0, 1, lengths)
    return unit
