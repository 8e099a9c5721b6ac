"""The rows of the videos of two datasets, in pieces of bounded size whatever the length of a video."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.lake.dataset_videos import VideosOfDataset
from pipeline.lake.placed_rows import ROW_BYTES, ROW_KEY, PlacedRows, ReadRows, read_placed
from pipeline.lake.video_groups import PlacedVideos, order_of

PIECE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two datasets."""

    dataset: Dataset
    videos: VideosOfDataset
    dim: int
    """Of its features; 0: they are not wanted."""

    @classmethod
    def of(cls, dataset: Dataset, *, dim: int) -> "Side":
        """A dataset as it is now. Raises as ``VideosOfDataset.of`` does."""
        return cls(dataset=dataset, videos=VideosOfDataset.of(dataset), dim=dim)

    def num_samples(self, ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
        """Of each of these videos; 0 where it has none."""
        return self.videos.num_samples(ids)

    def grouped(self, ids: NDArray[np.bytes_], *, with_features: bool = True) -> Iterator[ReadRows]:
        """The rows of each of some videos that fit into memory together, in the order of (``epoch``, ``pts``)."""
        placed = self.videos.placed(ids)
        return placed.videos(read_placed(self.dataset.files, placed.rows, dim=self.dim if with_features else 0))

    def pieces(self, video_id: NDArray[np.bytes_], *, piece_bytes: int) -> Iterator[ReadRows]:
        """The rows of one video, segments of about so many bytes at a time, in that order throughout."""
        rows = self._in_order(self.videos.placed(video_id).rows)
        numbers = (np.cumsum(rows.count) - rows.count) * (4 * self.dim + ROW_BYTES) // piece_bytes
        edges = np.flatnonzero(np.diff(numbers)) + 1
        for spans in np.split(np.arange(len(rows.count)), edges):
            some = PlacedRows(names=rows.names, file=rows.file[spans], first=rows.first[spans], count=rows.count[spans])
            placed = PlacedVideos(rows=some, span_ends=np.array([len(spans)]))
            yield from placed.videos(read_placed(self.dataset.files, some, dim=self.dim))

    def _in_order(self, rows: PlacedRows) -> PlacedRows:
        """Rows as they are shown, which those of segments nearly always are: not where slots were filled later."""
        keys = read_placed(self.dataset.files, rows, dim=0)
        order = order_of(keys.epochs, keys.pts)
        return rows if order is None else rows.rows(order)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPairs:
    """Some rows of one video in both datasets: those with the same (``epoch``, ``pts``) side by side."""

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    only_a: int
    """Rows that have no partner in this piece, nor in any other."""
    only_b: int


def groups_of(ids: NDArray[np.bytes_], *sides: Side, piece_bytes: int) -> Iterator[NDArray[np.bytes_]]:
    """Videos that are read together: of about so many bytes on the larger side, and at least one."""
    counts = np.maximum.reduce([side.num_samples(ids) for side in sides])
    sizes = counts * (4 * max(side.dim for side in sides) + ROW_BYTES)
    numbers = (np.cumsum(sizes) - sizes) // piece_bytes
    edges = np.flatnonzero(np.diff(numbers)) + 1
    yield from np.split(ids, edges) if len(ids) else []


def paired(a: Iterator[ReadRows], b: Iterator[ReadRows]) -> Iterator[RowPairs]:
    """Bring the rows of one video together, each side in pieces whose keys increase from one to the next."""
    left, right = next(a, None), next(b, None)
    while left is not None and right is not None:
        keys = left.keys, right.keys
        end = min(*(each[-1:].tolist() for each in keys))
        at = [int(np.searchsorted(each, np.array(end, ROW_KEY)[0], side="right")) for each in keys]
        yield _matched(left.taken(slice(at[0])), right.taken(slice(at[1])))
        left = left.taken(slice(at[0], None)) if at[0] < len(keys[0]) else next(a, None)
        right = right.taken(slice(at[1], None)) if at[1] < len(keys[1]) else next(b, None)
    while left is not None:
        yield _alone(only_a=len(left.pts))
        left = next(a, None)
    while right is not None:
        yield _alone(only_b=len(right.pts))
        right = next(b, None)


def _matched(a: ReadRows, b: ReadRows) -> RowPairs:
    mine, theirs = a.keys, b.keys
    if len(mine) == len(theirs) and (mine == theirs).all():
        return RowPairs(a=a.features, b=b.features, only_a=0, only_b=0)
    common, at_a, at_b = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    return RowPairs(
        a=a.features[at_a],
        b=b.features[at_b],
        only_a=len(mine) - len(common),
        only_b=len(theirs) - len(common),
    )


def _alone(*, only_a: int = 0, only_b: int = 0) -> RowPairs:
    none = np.empty((0, 0), np.float32)
    return RowPairs(a=none, b=none, only_a=only_a, only_b=only_b)
