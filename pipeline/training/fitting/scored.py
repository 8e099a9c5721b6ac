"""What a fitted head says of the units on the local disk."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pipeline.models.heads.scorers import VectorScorer
from pipeline.models.heads.sequences import SequenceScorer
from pipeline.training.fitting.fitted import PartVectors
from pipeline.training.fitting.scratch import Part

Scorer = VectorScorer | SequenceScorer

_MOST_LOGITS = 1 << 23
"""That a temperature is found by: a part of the validation part, evenly chosen, where that has more."""


class ScoredPart(PartVectors):
    """The units of one part, and the head that they are asked about."""

    def __init__(self, part: Part, scorer: Scorer, *, temperature: float | None) -> None:
        self._part = part
        self._scorer = scorer
        self._temperature = temperature

    @override
    def __len__(self) -> int:
        return len(self._part)

    @override
    def targets(self) -> NDArray[np.float32]:
        return self._part.targets

    @override
    def groups(self) -> NDArray[np.int64]:
        return self._part.groups

    @override
    def probabilities(self) -> Iterator[NDArray[np.float32]]:
        for places in self._part.stretches():
            rows, begin, end = self._part.units(places)
            if isinstance(self._scorer, SequenceScorer):
                yield self._scorer.probabilities(rows, begin, end, temperature=self._temperature)
            else:
                yield self._scorer.probabilities(rows, temperature=self._temperature)


def logits_of_part(part: Part, scorer: Scorer) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Logits ``float64[n, C]`` and targets of a part, or of as many of its units as fit into memory, evenly chosen."""
    num, most = len(part), max(1, _MOST_LOGITS // part.targets.shape[1])
    places = np.arange(num) if num <= most else np.linspace(0, num - 1, most).astype(np.int64)
    logits = []
    for some in part.stretches(places):
        rows, begin, end = part.units(some)
        said = scorer.logits(rows, begin, end) if isinstance(scorer, SequenceScorer) else scorer.logits(rows)
        logits.append(np.asarray(said, np.float64))
    return np.concatenate(logits), np.array(part.targets[places])
