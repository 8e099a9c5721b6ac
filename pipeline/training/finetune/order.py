"""In which order an epoch goes through the pictures, and which of them each worker takes: pure arithmetic.

A worker that waits for another one's batch waits for ever, so all have the same number of batches, each of the same
length but for one picture.
"""

import numpy as np
from numpy.typing import NDArray

CHUNK = 64
"""Pictures that lie side by side on disk and are read together, wherever an epoch begins."""


def epoch_order(num: int, *, window: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The numbers from 0 to ``num - 1``, shuffled so that reading them in this order is cheap.

    Chunks of neighbours are shuffled; then, within each ``window`` of them, all their pictures are. Where a window
    holds everything, every order is as likely as any other. The order follows from the arguments alone: an epoch that
    is begun again is the same.
    """
    rng = np.random.default_rng([seed, epoch])
    chunks = np.array_split(np.arange(num, dtype=np.int64), max(1, -(-num // CHUNK)))
    order = np.concatenate([chunks[at] for at in rng.permutation(len(chunks))])
    for begin in range(0, num, window):
        order[begin : begin + window] = rng.permutation(order[begin : begin + window])
    return order


def share_of(order: NDArray[np.int64], *, rank: int, num_workers: int) -> NDArray[np.int64]:
    """What one of the workers takes: as many for each, at least two; where they do not suffice, some come twice.

    Two, because batch normalisation knows no spread of a single picture.
    """
    length = max(2, -(-len(order) // num_workers))
    return np.take(order, np.arange(rank * length, (rank + 1) * length), mode="wrap")


def batches_of(share: NDArray[np.int64], *, batch_size: int) -> list[NDArray[np.int64]]:
    """A share in batches of at most ``batch_size``, whose lengths differ by one at most."""
    return np.array_split(share, -(-len(share) // batch_size))
