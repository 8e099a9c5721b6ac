"""The samples of a unit become one vector."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]


def pool(x: Features, begin: NDArray[np.int64], end: NDArray[np.int64], ways: Sequence[str]) -> Features:
    """Pool the samples of each unit in each way.

    Sums are made in double precision and each unit by itself, so that neither its length nor its neighbours show.

    Args:
        x: ``float32[T, D]``.
        begin: ``int64[U]``, the first sample of each unit, in any order; units may overlap.
        end: ``int64[U]``, one past its last sample; a unit has at least one.
        ways: of ``mean``, ``std`` and ``max``, in the order in which their vectors are joined.

    Returns:
        ``float32[U, D * len(ways)]``; a frame's mean and max are the frame itself, its deviation is zero.
    """
    if (end - begin == 1).all():
        frames = x[begin]
        return _joined([np.zeros_like(frames) if way == "std" else frames for way in ways])
    # ``reduceat`` takes pairs of edges, which must lie within the array: a last row stands for the end.
    edges = np.stack([begin, end], axis=1).reshape(-1)
    rows = np.concatenate([x, np.zeros((1, x.shape[1]), np.float32)])
    counts = (end - begin)[:, None].astype(np.float64)
    parts = []
    for way in ways:
        if way == "max":
            parts.append(np.maximum.reduceat(rows, edges, axis=0)[::2])
            continue
        mean = np.add.reduceat(rows, edges, axis=0, dtype=np.float64)[::2] / counts
        if way == "std":
            squares = np.add.reduceat(np.square(rows, dtype=np.float64), edges, axis=0)[::2] / counts
            mean = np.sqrt(np.maximum(squares - np.square(mean), 0))
        parts.append(mean.astype(np.float32))
    return _joined(parts)


def _joined(parts: list[Features]) -> Features:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
