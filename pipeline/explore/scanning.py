"""Scores of all rows: every one is compared, by all CPUs, and nothing but the scores is kept."""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.labels import LabelScorer
from pipeline.explore.sources import Packed, Source, Unpacked
from pipeline.lake.unpacked.copies import Copies, FeaturesFile
from pipeline.lake.unpacked.feature_rows import FeatureRows, Vectors, no_rows
from pipeline.lake.unpacked.parquet_parts import FileParts

Scores = NDArray[np.float32]

_ROWS = 4096
"""Of a piece: enough for threads not to wait for each other, and little beside what is mapped."""
_FLOAT_ROWS = 256
"""Of half-precision vectors that are turned into floats at a time: they fit a CPU's cache."""
_IN_MEMORY_ROWS = 1 << 24
"""Scores of more rows are kept in a file without a name."""


class Scorer(Protocol):
    """What gives rows their scores."""

    def scores(self, vectors: Vectors, scales: NDArray[np.float32]) -> Scores:
        """Of N rows: ``float32[N]``."""

    @property
    def uses_threads(self) -> bool:
        """Whether it computes with all CPUs by itself, so that it is called for one piece after the other."""


class Cosine:
    """The cosine to one vector, accumulated in ``float32``."""

    uses_threads = False

    def __init__(self, vector: NDArray[np.float32]) -> None:
        exact = vector.astype(np.float64)
        length = float(np.linalg.norm(exact))
        self.unit: NDArray[np.float64] = exact / length if 0 < length < np.inf else np.zeros(len(exact))
        self._unit = self.unit.astype(np.float32)

    def scores(self, vectors: Vectors, scales: NDArray[np.float32]) -> Scores:
        """``float32[N]``."""
        with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite have the scale 0
            return np.where(scales > 0, self._products(vectors) * scales, np.float32(0))

    def _products(self, vectors: Vectors) -> Scores:
        if vectors.dtype == np.float32:
            products: Scores = np.vecdot(vectors, self._unit)  # not by BLAS, whose own threads would take turns
        else:
            products = np.empty(len(vectors), np.float32)
            for at in range(0, len(vectors), _FLOAT_ROWS):
                part = vectors[at : at + _FLOAT_ROWS].astype(np.float32)
                np.vecdot(part, self._unit, out=products[at : at + _FLOAT_ROWS])
        return products


class Probability:
    """How probable some labels are together."""

    uses_threads = True

    def __init__(self, scorer: LabelScorer, columns: Sequence[int]) -> None:
        self._scorer = scorer
        self._columns = list(columns)

    def scores(self, vectors: Vectors, scales: NDArray[np.float32]) -> Scores:
        """``float32[N]``; 0 of a vector with numbers that are not finite."""
        probabilities = self._scorer.probabilities(vectors.astype(np.float32, copy=False))
        together: Scores = probabilities[:, self._columns].sum(axis=1, dtype=np.float32)
        return np.where(np.isfinite(together), np.minimum(together, 1), np.float32(0)).astype(np.float32)


class Scored(Protocol):
    """The rows of one source, and what is known of their scores."""

    @property
    def rows(self) -> FeatureRows:
        """Without vectors where they were read as Parquet."""

    def best(self, count: int) -> tuple[NDArray[np.int64], Scores]:
        """The rows with the best scores, in any order, and these; what is not looked for is not among them."""

    def known(self, rows: NDArray[np.int64]) -> Scores:
        """The scores of some rows: NaN where one is not known, minus infinity where it is not looked for."""

    def sample(self, step: int) -> Scores:
        """The score of about every ``step``-th row that is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """Every row was compared; what is not looked for has the score minus infinity."""

    rows: FeatureRows
    scores: Scores

    def best(self, count: int) -> tuple[NDArray[np.int64], Scores]:
        """As of ``Scored``."""
        some = np.arange(len(self.scores))
        if count < len(some):
            some = np.argpartition(self.scores, -count)[-count:]
        some = some[np.isfinite(self.scores[some])]
        return some, self.scores[some]

    def known(self, rows: NDArray[np.int64]) -> Scores:
        """As of ``Scored``."""
        return self.scores[rows]

    def sample(self, step: int) -> Scores:
        """As of ``Scored``."""
        sample = self.scores[::step]
        return sample[np.isfinite(sample)]


def scan(
    sources: Sequence[Source], scorer: Scorer, *, copies: Copies, is_stopped: Callable[[], bool] = lambda: False
) -> list[Scanned]:
    """The scores of all rows of each of some sources; none of one that was not reached before ``is_stopped``.

    Raises:
        ForeignFile, StorageError: a file is damaged, or the store failed.
    """
    threads = 1 if scorer.uses_threads else len(os.sched_getaffinity(0))
    scored = [
        Scanned(rows=source.rows, scores=_room(len(source.rows))) if isinstance(source, Unpacked) else None
        for source in sources
    ]
    pieces = [(each, begin) for each in scored if each is not None for begin in range(0, len(each.rows), _ROWS)]

    def fill(piece: tuple[Scanned, int]) -> None:
        if not is_stopped():
            each, begin = piece
            span = slice(begin, begin + _ROWS)
            each.scores[span] = scorer.scores(each.rows.vectors[span], each.rows.scales[span])

    def read(source: Source) -> Scanned | None:
        is_left = isinstance(source, Packed) and not is_stopped()
        return _streamed(source.file, scorer, copies=copies) if is_left and source.file is not None else None

    with ThreadPoolExecutor(threads, thread_name_prefix="scan") as pool:
        list(pool.map(fill, pieces))
        streamed = list(pool.map(read, sources))
    empty = Scanned(rows=no_rows(), scores=np.empty(0, np.float32))
    return [one or other or empty for one, other in zip(scored, streamed, strict=True)]


def _streamed(file: FeaturesFile, scorer: Scorer, *, copies: Copies) -> Scanned:
    read: list[Scanned] = []

    def how(parts: FileParts) -> None:
        read.clear()
        kept, scores = [], []
        for part in parts:
            scores.append(scorer.scores(part.vectors, part.scales))
            kept.append(without_vectors(part))
        if kept:
            read.append(Scanned(rows=joined(kept, parts), scores=np.concatenate(scores)))

    copies.parts(file, how)
    return read[0] if read else Scanned(rows=no_rows(), scores=np.empty(0, np.float32))


def without_vectors(part: FeatureRows) -> FeatureRows:
    """The same rows, of which the vectors need not be kept."""
    return replace(part, vectors=np.empty((len(part), 0), np.float32))


def joined(parts: Sequence[FeatureRows], of: FileParts) -> FeatureRows:
    """The parts of a file as one."""
    names = ("vectors", "scales", "pts", "times_s", "ends_s", "captured_s")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return FeatureRows(**arrays, runs=of.runs(), uris=of.uris())


def _room(num_rows: int) -> Scores:
    """Room for scores, in memory or, of very many rows, in a file without a name."""
    if num_rows <= _IN_MEMORY_ROWS:
        return np.empty(num_rows, np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=(num_rows,))
