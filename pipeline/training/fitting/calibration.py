"""Probabilities that can be believed: one temperature and the thresholds, both from the validation part."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float64]
Targets = NDArray[np.float32]

NUM_BINS = 15
_LOWEST, _HIGHEST = 0.05, 20.0
_NUM_STEPS = 60
_GOLDEN = (5**0.5 - 1) / 2


def temperature_of(logits: Logits, targets: Targets, *, is_multi_label: bool) -> float:
    """The temperature under which the targets are the most probable.

    As Platt's scaling does it, the targets are taken for a little less than sure: where all units are right, no
    temperature would be low enough.

    Args:
        logits: ``float64[N, C]``, N at least 1.
        targets: ``float32[N, C]``.
        is_multi_label: whether several labels may hold.
    """
    num, num_labels = targets.shape
    doubt = 1 / (num + 2)
    soft = targets * (1 - doubt) + doubt / (2 if is_multi_label else num_labels)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if is_multi_label:
            return float(np.mean(np.logaddexp(0, scaled) - soft * scaled))
        shifted = scaled - scaled.max(axis=1, keepdims=True)
        normalised = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        return -float(np.mean((soft * normalised).sum(axis=1)))

    return float(np.exp(_lowest(loss, np.log(_LOWEST), np.log(_HIGHEST))))


def _lowest(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls and then rises is lowest, by golden sections."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(_NUM_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return (low + high) / 2


def expected_calibration_error(probabilities: NDArray[np.float32], targets: Targets, *, is_multi_label: bool) -> float:
    """How far confidence and the share that is right lie apart: over 15 bins, each by its share of units.

    Args:
        probabilities: ``float32[N, C]``.
        targets: ``float32[N, C]``.
        is_multi_label: each label of each unit counts by itself; else the most probable label of each unit.
    """
    if is_multi_label:
        confidence, is_right = probabilities.reshape(-1), targets.reshape(-1) > 0
    else:
        best = probabilities.argmax(axis=1)
        at = np.arange(len(best))
        confidence, is_right = probabilities[at, best], targets[at, best] > 0
    if not len(confidence):
        return 0.0
    bins = np.minimum((confidence.astype(np.float64) * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    confident = np.bincount(bins, weights=confidence, minlength=NUM_BINS)
    right = np.bincount(bins, weights=is_right, minlength=NUM_BINS)
    return float(np.abs(confident - right).sum() / len(confidence))


def thresholds_of(probabilities: NDArray[np.float32], targets: Targets) -> tuple[float, ...]:
    """For each label the threshold of the best F1; 0.5 where the label never holds, or nothing is known.

    Args:
        probabilities: ``float32[N, C]``.
        targets: ``float32[N, C]``.
    """
    return tuple(
        _threshold(probabilities[:, at].astype(np.float64), targets[:, at] > 0) for at in range(targets.shape[1])
    )


def _threshold(probabilities: NDArray[np.float64], holds: NDArray[np.bool_]) -> float:
    if not holds.any():
        return 0.5
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    hits = np.cumsum(holds[order])
    # A threshold lies between two different probabilities, or below the last.
    edges = np.flatnonzero(np.append(descending[1:] < descending[:-1], True))
    f1 = 2 * hits[edges] / (edges + 1 + holds.sum())
    below = np.append(descending, 0.0)[edges + 1]
    middles = (descending[edges] + below) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middles[best[np.abs(middles[best] - 0.5).argmin()]])
