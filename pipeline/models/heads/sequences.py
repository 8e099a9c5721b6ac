"""Units as sequences of vectors, padded to the longest among them, and the networks that read them."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.models.heads.probabilities import of_logits

Features = NDArray[np.float32]

_MOST_NUMBERS = 1 << 23
"""Of a padded batch: what bounds memory, but for a sequence that is longer by itself."""

_MOST_SEQUENCES = 512


def padded_sequences(x: Features, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Tensor:
    """The rows of some units: ``float32[U, T, D]``, zeros behind the end of each that is not the longest."""
    lengths = end - begin
    padded = np.zeros((len(begin), int(lengths.max()), x.shape[1]), np.float32)
    for at, (first, last) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        padded[at, : last - first] = x[first:last]
    return torch.from_numpy(padded)


class SequenceScorer:
    """A network over sequences."""

    def __init__(self, network: nn.Module, *, is_multi_label: bool) -> None:
        self._network = network
        self._is_multi_label = is_multi_label

    def logits(self, x: Features, begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits ``float32[U, C]`` of units, each a range of the rows of ``x``."""
        lengths = end - begin
        order = np.argsort(lengths, kind="stable")
        parts = []
        with torch.inference_mode():
            for chosen in _batches(order, lengths=lengths, dim=x.shape[1]):
                padded = padded_sequences(x, begin[chosen], end[chosen])
                parts.append(self._network(padded, torch.from_numpy(lengths[chosen])).numpy())
        logits: NDArray[np.float32] = np.concatenate(parts)[np.argsort(order, kind="stable")]
        return logits

    def probabilities(
        self, x: Features, begin: NDArray[np.int64], end: NDArray[np.int64], *, temperature: float | None
    ) -> NDArray[np.float32]:
        """``float32[U, C]``, as ``logits``."""
        logits = self.logits(x, begin, end)
        return of_logits(logits, is_multi_label=self._is_multi_label, temperature=temperature)


def _batches(order: NDArray[np.intp], *, lengths: NDArray[np.int64], dim: int) -> Iterator[NDArray[np.intp]]:
    """Units of an ascending length, so many at a time as fit."""
    start = 0
    while start < len(order):
        stop = start + 1
        while (
            stop < len(order)
            and stop - start < _MOST_SEQUENCES
            and (stop - start + 1) * int(lengths[order[stop]]) * dim <= _MOST_NUMBERS
        ):
            stop += 1
        yield order[start:stop]
        start = stop
