"""From what a head computes to probabilities: softmax or sigmoid, under one temperature."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64] | NDArray[np.float32]

_LEAST = 1e-6
"""Trees say 0 and 1, whose logarithms are infinite: a temperature takes nothing for surer than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What is said of units."""

    best: NDArray[np.int64]
    """``int64[U]``: the most probable label's place among the labels; of equal ones the first."""
    holds: NDArray[np.bool_]
    """``bool[U, C]``: which labels a unit has; several or none where they are above thresholds, else the best alone."""


def softmax(logits: Numbers) -> NDArray[np.float32]:
    """Over the last axis, in double precision."""
    shifted = np.asarray(logits, np.float64)
    powers = np.exp(shifted - shifted.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def sigmoid(logits: Numbers) -> NDArray[np.float32]:
    """Of each number, in double precision."""
    x = np.asarray(logits, np.float64)
    powers = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + powers), powers / (1 + powers)).astype(np.float32)


def of_logits(logits: Numbers, *, is_multi_label: bool, temperature: float | None) -> NDArray[np.float32]:
    """Probabilities ``float32[N, C]`` of a network's logits; without a temperature they are taken as they are."""
    scaled = np.asarray(logits, np.float64) / (1.0 if temperature is None else temperature)
    return sigmoid(scaled) if is_multi_label else softmax(scaled)


def logits_of(probabilities: NDArray[np.float64], *, is_multi_label: bool) -> NDArray[np.float64]:
    """Logits of what trees say, by which a temperature can be found and applied."""
    clipped = np.clip(probabilities, _LEAST, 1 - _LEAST if is_multi_label else 1)
    logits: NDArray[np.float64] = np.log(clipped)
    return logits - np.log1p(-clipped) if is_multi_label else logits


def labelled(probabilities: NDArray[np.float32], *, thresholds: tuple[float, ...]) -> Labelled:
    """What probabilities ``float32[U, C]`` say; without thresholds a unit has the most probable label alone."""
    best = probabilities.argmax(axis=1).astype(np.int64)
    if thresholds:
        return Labelled(best=best, holds=probabilities > np.asarray(thresholds, np.float64))
    return Labelled(best=best, holds=np.arange(probabilities.shape[1]) == best[:, None])
