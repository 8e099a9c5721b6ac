"""In which order the units of the training part are learned from: by the seed and the epoch alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_FREE = 1 << 18
"""So many units are shuffled freely."""

_BLOCK = 64
_BLOCKS = 1 << 12


def minibatches(num: int, *, size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """The places of the units of each minibatch of an epoch; each unit comes once.

    Of very many units only neighbours are read together, from a disk perhaps: blocks of them are shuffled, and then the
    units of some thousand blocks.

    Args:
        num: how many units there are.
        size: of a minibatch; the last one is smaller.
        seed: of the training.
        epoch: from 0.
    """
    rng = np.random.default_rng([seed % (1 << 63), epoch])
    left = np.empty(0, np.int64)
    for drawn in _shuffled(num, rng):
        places = np.concatenate([left, drawn])
        end = len(places) - len(places) % size
        yield from np.split(places[:end], range(size, end, size)) if end else ()
        left = places[end:]
    if len(left):
        yield left


def _shuffled(num: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    if num <= _FREE:
        yield rng.permutation(num)
        return
    blocks = rng.permutation(-(-num // _BLOCK))
    for start in range(0, len(blocks), _BLOCKS):
        first = np.sort(blocks[start : start + _BLOCKS]) * _BLOCK
        places = (first[:, None] + np.arange(_BLOCK)).reshape(-1)
        yield rng.permutation(places[places < num])
