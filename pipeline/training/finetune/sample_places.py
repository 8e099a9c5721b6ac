"""Where each kept picture lies, and what it shows in a few numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from typing_extensions import override

from pipeline.lake.dataset import Dataset
from pipeline.lake.video_features import GROUP_BYTES, LakeFeatures
from pipeline.lake.video_groups import VideoFeatures
from pipeline.records.ids import ID_BYTES, id_bytes
from pipeline.training.finetune.pictures import Pictures, Places

_GRID = 4
"""Of a thumbnail, on each side."""
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplePlaces:
    """Where each sample of each video lies, sorted by video, epoch and pts, however they are spread over files."""

    videos: NDArray[np.bytes_]
    epochs: NDArray[np.int64]
    pts: NDArray[np.int64]
    places: Places

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Read the keys of all rows, and no picture.

        Raises:
            StorageError: the store failed.
        """
        files = tuple(dataset.features.names())
        keys = [dataset.files.read_ours(name, _keys) for name in files]
        videos = np.concatenate([np.empty(0, f"S{ID_BYTES}"), *(id_bytes(part["video_id"]) for part in keys)])
        epochs, pts = (
            np.concatenate([np.empty(0, np.int64), *(part[name].to_numpy() for part in keys)])
            for name in ("epoch", "pts")
        )
        order = np.lexsort((pts, epochs, videos))
        places = Places(
            files=files,
            file=np.repeat(np.arange(len(files)), [len(part) for part in keys]).astype(np.int32),
            row=np.concatenate([np.empty(0, np.int32), *(np.arange(len(part), dtype=np.int32) for part in keys)]),
        )
        return cls(videos=videos[order], epochs=epochs[order], pts=pts[order], places=places.take(order))

    def numbers_of(self, video_id: str) -> NDArray[np.int64]:
        """Of the samples of a video, in the order of (``epoch``, ``pts``)."""
        begin, end = (np.searchsorted(self.videos, video_id.encode(), side=side) for side in ("left", "right"))
        return np.arange(begin, end)

    def take(self, at: NDArray[np.int64]) -> Self:
        """Some of them."""
        return replace(
            self, videos=self.videos[at], epochs=self.epochs[at], pts=self.pts[at], places=self.places.take(at)
        )


class Thumbnails(LakeFeatures):
    """A dataset of inputs as a lake whose features are the mean colours of parts of each picture.

    Videos that show the same have the same ones: what they are grouped by before parts are drawn.
    """

    @cached_property
    def samples(self) -> SamplePlaces:
        """Where the pictures lie."""
        return SamplePlaces.of(self.datasets[0])

    @property
    @override
    def dim(self) -> int:
        return _GRID * _GRID * 3

    @override
    def read(
        self, ids: NDArray[np.bytes_] | None = None, *, with_features: bool = True, group_bytes: int = GROUP_BYTES
    ) -> Iterator[VideoFeatures]:
        for video in super().read(ids, with_features=False, group_bytes=group_bytes):
            yield replace(video, features=self._thumbnails(video.video_id)) if with_features else video

    def _thumbnails(self, video_id: str) -> NDArray[np.float32]:
        numbers = self.samples.numbers_of(video_id)
        batches = np.array_split(np.arange(len(numbers)), -(-len(numbers) // _BATCH))
        pictures = Pictures(self.datasets[0], self.samples.places.take(numbers))
        return np.concatenate([thumbnails_of(pixels) for _, pixels in pictures.batches(batches)])


def thumbnails_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The mean colours of the parts of pictures ``uint8[N, H, W, 3]``: ``float32[N, 48]``."""
    rows = np.array_split(pixels, _GRID, axis=1)
    parts = [part.mean(axis=(1, 2)) for row in rows for part in np.array_split(row, _GRID, axis=2)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _keys(file: pa.NativeFile) -> pa.Table:
    return pq.ParquetFile(file).read(["video_id", "epoch", "pts"])
