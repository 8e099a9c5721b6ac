"""``vidlake diff``: two datasets over the same videos, one video after the other.

Rows belong together by (``video_id``, ``epoch``, ``pts``), however videos were cut and files written.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.comparison.figures import Figures, compare
from pipeline.lake.comparison.row_pairs import PIECE_BYTES, RowPairs, Side, groups_of, paired
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.model_folders import existing_dataset
from pipeline.records.documents import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What some rows come to: of one video, or of all."""

    num_rows: int
    """In both."""
    only_a: int
    only_b: int
    worst_cosine: float | None
    """``None`` where no row is in both, as the next two."""
    median_cosine: float | None
    largest_difference: float | None
    """Of two values in the same place; infinite where one of them is no number."""

    @classmethod
    def of(cls, figures: Figures) -> "Compared":
        """What was added up."""
        return cls(
            num_rows=figures.num_rows,
            only_a=figures.only_a,
            only_b=figures.only_b,
            worst_cosine=figures.worst_cosine,
            median_cosine=figures.median_cosine,
            largest_difference=figures.largest_difference,
        )

    def to_json(self) -> Document:
        """Plain values; what is infinite is null, for JSON has no word for it."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: None if value == math.inf else value for name, value in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedVideo:
    """One video."""

    video_id: str
    uri: str
    compared: Compared

    def to_json(self) -> Document:
        """Plain values."""
        return {"video_id": self.video_id, "uri": self.uri, **self.compared.to_json()}


class Diff:
    """Two datasets that can be compared; ``total`` is complete once ``videos`` has come to its end."""

    def __init__(self, a: str, b: str, *, piece_bytes: int = PIECE_BYTES) -> None:
        """Find the datasets at two addresses.

        Raises:
            UsageError: one is not there, or their features are of unlike length.
        """
        self._piece_bytes = piece_bytes
        self._datasets = existing_dataset(a, command="diff"), existing_dataset(b, command="diff")
        self._infos = [dataset.existing() for dataset in self._datasets]
        _check(self._datasets, self._infos)
        self._figures = Figures()

    @property
    def configuration(self) -> dict[str, tuple[object, object]]:
        """The settings in which they differ, each with what it is in A and in B."""
        mine, theirs = self._infos
        differences = mine.config.differences(theirs.config)
        if mine.weights != theirs.weights:
            differences["--weights"] = (mine.weights, theirs.weights)
        return differences

    def videos(self) -> Iterator[ComparedVideo]:
        """Each video that has a row in one of them: those of A in the order of its files, then those of B alone.

        Raises:
            ForeignFile: a file is damaged.
            StorageError: a store failed.
        """
        a, b = (
            Side.of(dataset, dim=info.config.model.dim)
            for dataset, info in zip(self._datasets, self._infos, strict=True)
        )
        ids = a.videos.in_order()
        for group in groups_of(ids, a, b, piece_bytes=self._piece_bytes):
            is_in_both = b.num_samples(group) > 0
            yield from self._in_both(group[is_in_both], a, b)
            yield from self._alone(group[~is_in_both], a, is_a=True)
        ids = b.videos.in_order()
        for group in groups_of(ids[a.num_samples(ids) == 0], b, piece_bytes=self._piece_bytes):
            yield from self._alone(group, b, is_a=False)

    @property
    def total(self) -> Compared:
        """All videos that ``videos`` has given."""
        return Compared.of(self._figures)

    def _in_both(self, ids: NDArray[np.bytes_], a: Side, b: Side) -> Iterator[ComparedVideo]:
        if len(ids) == 1:  # perhaps a long one
            uri = next(a.grouped(ids, with_features=False)).uris[0]
            pieces = (side.pieces(ids, piece_bytes=self._piece_bytes) for side in (a, b))
            yield self._compared(ids[0], uri, paired(*pieces))
        elif len(ids):
            for video_id, mine, theirs in zip(ids, a.grouped(ids), b.grouped(ids), strict=True):
                yield self._compared(video_id, mine.uris[0], paired(iter([mine]), iter([theirs])))

    def _alone(self, ids: NDArray[np.bytes_], side: Side, *, is_a: bool) -> Iterator[ComparedVideo]:
        for video_id, rows in zip(ids, side.grouped(ids, with_features=False) if len(ids) else (), strict=True):
            none = np.empty((0, 0), np.float32)
            num = len(rows.pts)
            pairs = RowPairs(a=none, b=none, only_a=num if is_a else 0, only_b=0 if is_a else num)
            yield self._compared(video_id, rows.uris[0], iter([pairs]))

    def _compared(self, video_id: np.bytes_, uri: str, pieces: Iterator[RowPairs]) -> ComparedVideo:
        figures = Figures()
        for pairs in pieces:
            compare(pairs.a, pairs.b, figures, self._figures)
            for each in (figures, self._figures):
                each.only_a += pairs.only_a
                each.only_b += pairs.only_b
        return ComparedVideo(video_id=video_id.decode(), uri=uri, compared=Compared.of(figures))


def complaints(total: Compared, *, at_least: float | None, at_most: float | None) -> list[str]:
    """What does not hold, of two datasets that should be alike; the bars are of cosines and of differences."""
    found = []
    if total.only_a or total.only_b:
        found.append(f"{total.only_a} rows are in A alone, {total.only_b} in B alone")
    if at_least is not None and total.worst_cosine is not None and not total.worst_cosine >= at_least:
        found.append(f"the worst cosine is {total.worst_cosine:.6f}, below {at_least:g}")
    if at_most is not None and total.largest_difference is not None and not total.largest_difference <= at_most:
        found.append(f"the largest difference is {total.largest_difference:.3g}, above {at_most:g}")
    return found


def _check(datasets: tuple[Dataset, Dataset], infos: list[DatasetInfo]) -> None:
    for dataset, info in zip(datasets, infos, strict=True):
        if info.config.content != "features":
            raise UsageError(f"{dataset.store.uri} holds pictures and no features")
    mine, theirs = (info.config.model.dim for info in infos)
    if mine != theirs:
        a, b = (dataset.store.uri for dataset in datasets)
        raise UsageError(f"features of {mine} values in {a} cannot be compared with those of {theirs} in {b}")
