"""Feature steps fitted on the samples of the training part, each of them once, in one reading of the lake a step."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.models.heads.steps import L2, Delta, Pca, Standardize, Step, apply_steps
from pipeline.training.examples import PARTS, Examples
from pipeline.training.fitting.scratch import covered

Features = NDArray[np.float32]

FLOOR = 0.1
"""Of the mean deviation: dimensions that hardly vary would drown the others when scaled up (measured with Adam)."""

_ROWS = 8192


def fit_steps(examples: Examples, names: Sequence[str]) -> tuple[Step, ...]:
    """Fit feature steps one after the other, each on what the ones before it make of the training samples.

    Args:
        examples: the labelled units of a lake.
        names: as ``HeadInfo.steps`` has them.

    Raises:
        UsageError: there are fewer training samples than a ``pca`` needs.
    """
    steps: list[Step] = []
    for name in names:
        if name == "l2":
            steps.append(L2())
        elif name == "delta":
            steps.append(Delta())
        elif name == "standardize":
            steps.append(_standardize(_training_rows(examples, steps)))
        else:
            steps.append(_pca(_training_rows(examples, steps), num=int(name.removeprefix("pca:"))))
    return tuple(steps)


def _training_rows(examples: Examples, steps: Sequence[Step]) -> Iterator[Features]:
    """The training samples, some thousand at a time, as the steps before make them of whole videos."""
    for video in examples():
        is_training = video.parts == PARTS.index("train")
        begin, end = video.units.begin[is_training], video.units.end[is_training]
        if len(begin):
            x = apply_steps(steps, video.features, runs=video.samples.epochs)
            rows = x[covered(begin, end, num=len(x))]
            yield from (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))


def _standardize(parts: Iterator[Features]) -> Standardize:
    num, mean, squares = 0, np.zeros(1), np.zeros(1)
    for part in parts:  # Chan's parallel variance: no sum of large squares is taken from another
        rows = part.astype(np.float64)
        num_both, mean_of_part = num + len(rows), rows.mean(axis=0)
        difference = mean_of_part - mean
        squares = squares + np.square(rows - mean_of_part).sum(axis=0) + difference**2 * (num * len(rows) / num_both)
        mean = mean + difference * (len(rows) / num_both)
        num = num_both
    deviation = np.sqrt(squares / max(1, num))
    floor = max(FLOOR * float(deviation.mean()), float(np.finfo(np.float32).tiny))
    scale = np.maximum(deviation, floor) if deviation.any() else np.ones_like(deviation)
    return Standardize(mean=mean.astype(np.float32), scale=scale.astype(np.float32))


def _pca(parts: Iterator[Features], *, num: int) -> Pca:
    """By the covariance, which is exact, and of one size whatever the number of samples."""
    count, origin, total, products = 0, None, None, None
    for part in parts:
        rows = torch.from_numpy(np.ascontiguousarray(part)).double()
        if origin is None or total is None or products is None:
            dim = rows.shape[1]
            if num > dim:
                raise UsageError(f"--features pca:{num}: vectors have {dim} values; give at most pca:{dim}")
            origin = rows.mean(dim=0)  # near the mean, so that products stay small
            total, products = torch.zeros(dim).double(), torch.zeros(dim, dim).double()
        rows -= origin
        total += rows.sum(dim=0)
        products.addmm_(rows.T, rows)
        count += len(rows)
    if origin is None or total is None or products is None or count < num:
        raise UsageError(
            f"--features pca:{num}: needs as many training samples, and there are {count}; give a smaller one"
        )
    offset = total / count
    covariance = products / count - torch.outer(offset, offset)
    _, vectors = torch.linalg.eigh(covariance)
    components = vectors.flip(1)[:, :num].T.numpy()
    # An axis has two directions: the one in which its largest value is positive.
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    components = components * np.where(largest < 0, -1.0, 1.0)
    mean = (origin + offset).numpy()
    return Pca(mean=mean.astype(np.float32), components=np.ascontiguousarray(components, np.float32))
