"""Looking up a vector in an index: in the lists nearest to it, roughly; the nearest of their rows exactly."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.index.group import Group
from pipeline.explore.scanning import Cosine, Scores
from pipeline.lake.unpacked.feature_rows import FeatureRows


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The rows of a file of which an index named some; of the others nothing is known."""

    rows: FeatureRows
    at: NDArray[np.int64]
    """Ascending."""
    scores: Scores
    """Of these."""
    scorer: Cosine

    def best(self, count: int) -> tuple[NDArray[np.int64], Scores]:
        """As of ``Scored``."""
        if count >= len(self.at):
            return self.at, self.scores
        some = np.argpartition(self.scores, -count)[-count:]
        return self.at[some], self.scores[some]

    def known(self, rows: NDArray[np.int64]) -> Scores:
        """As of ``Scored``."""
        known = np.full(len(rows), np.nan, np.float32)
        if len(self.at):
            places = np.minimum(np.searchsorted(self.at, rows), len(self.at) - 1)
            is_known = self.at[places] == rows
            known[is_known] = self.scores[places[is_known]]
        return known

    def sample(self, step: int) -> Scores:
        """As of ``Scored``."""
        return self.scorer.scores(self.rows.vectors[::step], self.rows.scales[::step])


class Lookup:
    """Groups that cover different files, and the copies of these files."""

    def __init__(self, groups: Sequence[Group], copies: Mapping[str, FeatureRows]) -> None:
        """Prepare; ``copies``: of the files of all groups, by their keys."""
        self._groups = groups
        self._copies = copies

    @cached_property
    def num_lists(self) -> int:
        """Of all groups."""
        return sum(len(group.ends) for group in self._groups)

    def find(self, scorer: Cosine, *, num_probes: int, count: int, pool: ThreadPoolExecutor) -> list[Looked]:
        """The rows of each file that are nearest to a vector.

        Args:
            scorer: of the vector.
            num_probes: how many lists are looked through.
            count: how many rows are compared exactly.
            pool: threads.
        """
        unit = scorer.unit.astype(np.float32)
        chosen = self._lists(unit, num_probes)
        rough = list(pool.map(lambda each: (each[0], each[0].places(each[1]), each[0].roughly(unit, each[1])), chosen))
        scores = np.concatenate([np.empty(0, np.float32), *(each for _, _, each in rough)])
        floor = np.partition(scores, -count)[-count] if len(scores) > count else -np.inf
        looked = []
        for group in self._groups:
            parts = [places[own >= floor] for other, places, own in rough if other is group]
            looked += self._exactly(group, np.sort(np.concatenate([np.empty(0, np.int64), *parts])), scorer)
        return looked

    def _lists(self, unit: NDArray[np.float32], num_probes: int) -> list[tuple[Group, NDArray[np.int64]]]:
        """Each group's lists that are among the nearest, in pieces for several threads."""
        like = [np.vecdot(group.centres, unit) for group in self._groups]
        every = np.concatenate([np.empty(0, np.float32), *like])
        floor = np.partition(every, -num_probes)[-num_probes] if num_probes < len(every) else -np.inf
        chosen = [(group, np.flatnonzero(own >= floor)) for group, own in zip(self._groups, like, strict=True)]
        return [(group, part) for group, lists in chosen for part in np.array_split(lists, 4) if len(part)]

    def _exactly(self, group: Group, places: NDArray[np.int64], scorer: Cosine) -> list[Looked]:
        edges = np.searchsorted(places, group.firsts)
        return [
            self._of_file(key, places[edges[number] : edges[number + 1]] - group.firsts[number], scorer)
            for number, key in enumerate(group.keys)
        ]

    def _of_file(self, key: str, at: NDArray[np.int64], scorer: Cosine) -> Looked:
        rows = self._copies[key]
        at = at[at < len(rows)]
        return Looked(rows=rows, at=at, scores=scorer.scores(rows.vectors[at], rows.scales[at]), scorer=scorer)
