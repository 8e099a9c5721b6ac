"""A model's own classification layer: the probability of a class, of all rows, by one product.

A softmax divides by the sum over all classes, which is the same whatever is asked for: it is computed once for each
row, and kept beside the row's copy.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.scanning import Probability, Scanned, scan
from pipeline.explore.sources import Source, Unpacked
from pipeline.lake.unpacked.copies import Copies
from pipeline.lake.unpacked.feature_rows import FeatureRows

Floats = NDArray[np.float32]

_ROWS = 2048


class ClassLayer:
    """A linear layer and what its outputs mean.

    Attributes:
        labels: of its outputs.
        name: tells its numbers from all others.
    """

    def __init__(self, weights: Floats, biases: Floats, labels: tuple[str, ...]) -> None:
        """``float32[C, D]`` and ``float32[C]``, of C labels."""
        self.labels = labels
        self.name: str = hashlib.sha256(weights.tobytes() + biases.tobytes()).hexdigest()[:16]
        self._weights = weights
        self._biases = biases

    def probabilities(self, features: Floats) -> Floats:
        """Of ``float32[N, D]``: ``float32[N, C]``, the softmax."""
        outputs = features @ self._weights.T + self._biases
        outputs -= outputs.max(axis=1, keepdims=True)
        np.exp(outputs, out=outputs)
        outputs /= outputs.sum(axis=1, keepdims=True)
        return outputs

    def sums(self, rows: FeatureRows) -> Floats:
        """The logarithm of what the softmax of each row divides by: ``float32[N]``."""
        sums = np.empty(len(rows), np.float32)
        for begin in range(0, len(rows), _ROWS):
            outputs = rows.floats(begin, begin + _ROWS) @ self._weights.T + self._biases
            most = outputs.max(axis=1, keepdims=True)
            sums[begin : begin + _ROWS] = most[:, 0] + np.log(np.exp(outputs - most).sum(axis=1))
        return sums

    def together(self, rows: FeatureRows, sums: Floats, columns: Sequence[int]) -> Floats:
        """How probable some labels are together: ``float32[N]``, from what ``sums`` gave; 0 where nothing is finite."""
        weights, biases = self._weights[list(columns)], self._biases[list(columns)]
        together = np.empty(len(rows), np.float32)
        for begin in range(0, len(rows), _ROWS):
            outputs = rows.floats(begin, begin + _ROWS) @ weights.T + biases
            together[begin : begin + _ROWS] = np.exp(outputs - sums[begin : begin + _ROWS, None]).sum(axis=1)
        return np.where(np.isfinite(together), np.minimum(together, 1), np.float32(0))


def scan_classes(
    sources: Sequence[Source], layer: ClassLayer, columns: Sequence[int], *, copies: Copies
) -> list[Scanned]:
    """How probable some classes are together, of all rows of each of some sources.

    Raises:
        ForeignFile, StorageError: a file is damaged, or the store failed.
    """
    with np.errstate(all="ignore"):  # numbers that are not finite are nothing's picture
        return [_scanned(source, layer, columns, copies=copies) for source in sources]


def _scanned(source: Source, layer: ClassLayer, columns: Sequence[int], *, copies: Copies) -> Scanned:
    if not isinstance(source, Unpacked) or source.file is None:
        [scanned] = scan([source], Probability(layer, columns), copies=copies)
        return scanned
    sums = copies.beside(source.file, layer.name, lambda: layer.sums(source.rows))
    return Scanned(rows=source.rows, scores=layer.together(source.rows, sums, columns))
