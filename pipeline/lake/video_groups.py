"""Some videos and where their features lie: all that reading them needs, on whatever machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.files import DatasetFiles
from pipeline.lake.placed_rows import PlacedRows, ReadRows, read_placed, row_keys
from pipeline.records.units import VideoSamples


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFeatures:
    """The samples of one video, in the order of (``epoch``, ``pts``), and their features."""

    video_id: str
    uri: str
    samples: VideoSamples
    features: NDArray[np.float32]
    """``float32[T, D]`` as stored, those of several models side by side; ``[T, 0]`` where they were not asked for."""
    captured_s: NDArray[np.float64]
    """When each sample was captured, in seconds since the Unix epoch; NaN: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedVideos:
    """Where the rows of V videos lie in one dataset."""

    rows: PlacedRows
    """The spans of the first video, of the second ...; those of a video in the order of its segments."""
    span_ends: NDArray[np.int64]
    """The number of the span after the last one of each video."""

    def videos(self, rows: ReadRows) -> Iterator[ReadRows]:
        """The rows of each video, out of those of all."""
        row_ends = np.append(0, np.cumsum(self.rows.count))
        first = 0
        for last in self.span_ends.tolist():
            begin, end = int(row_ends[first]), int(row_ends[last])
            yield _sorted(
                ReadRows(
                    epochs=rows.epochs[begin:end],
                    pts=rows.pts[begin:end],
                    times_s=rows.times_s[begin:end],
                    captured_s=rows.captured_s[begin:end],
                    features=rows.features[begin:end],
                    uris=tuple(uri for uri in rows.uris[first:last] if uri),
                )
            )
            first = last


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoGroup:
    """Some videos of a lake, of one or several datasets whose features stand side by side."""

    video_ids: tuple[str, ...]
    end_s: NDArray[np.float64]
    """Where each video ends; NaN: not known."""
    dated_s: NDArray[np.float64]
    """When the first frame of each was recorded; NaN: the rows say by themselves when they were captured, or nobody."""
    states: tuple[str, ...]
    """What tells the settled segments of a video from those that it has after a further one, or a retry."""
    placed: tuple[PlacedVideos, ...]
    """In each dataset."""

    def read(self, files: Sequence[DatasetFiles], *, dims: Sequence[int]) -> Iterator[VideoFeatures]:
        """The videos one after the other.

        Args:
            files: of each dataset.
            dims: the length of its features; 0: they are not wanted.

        Raises:
            ForeignFile: a file is damaged.
            StorageError: a store failed.
        """
        read = [
            placed.videos(read_placed(each, placed.rows, dim=dim))
            for placed, each, dim in zip(self.placed, files, dims, strict=True)
        ]
        for at, (video_id, *parts) in enumerate(zip(self.video_ids, *read, strict=True)):
            rows = _joined(parts)
            end_s = float(self.end_s[at])
            samples = VideoSamples(
                epochs=rows.epochs, pts=rows.pts, times_s=rows.times_s, end_s=None if np.isnan(end_s) else end_s
            )
            yield VideoFeatures(
                video_id=video_id,
                uri=rows.uris[0] if rows.uris else "",
                samples=samples,
                features=rows.features,
                captured_s=_captured(rows, float(self.dated_s[at])),
            )


def _captured(rows: ReadRows, dated_s: float) -> NDArray[np.float64]:
    return rows.captured_s if np.isnan(dated_s) else dated_s + rows.times_s


def order_of(epochs: NDArray[np.int32], pts: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """The order of (``epoch``, ``pts``); ``None``: they are in it, as those of segments nearly always are."""
    step = np.diff(epochs)
    is_later = (step > 0) | ((step == 0) & (np.diff(pts) > 0))
    return None if is_later.all() else np.lexsort((pts, epochs))


def common_rows(epochs: Sequence[NDArray[np.int32]], pts: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], ...]:
    """Of several datasets, each in the order of (``epoch``, ``pts``), the rows of the samples that all of them have."""
    keys = [row_keys(*each) for each in zip(epochs, pts, strict=True)]
    common = keys[0]
    for other in keys[1:]:
        common = np.intersect1d(common, other, assume_unique=True)
    return tuple(np.searchsorted(key, common) for key in keys)


def _sorted(rows: ReadRows) -> ReadRows:
    order = order_of(rows.epochs, rows.pts)
    return rows if order is None else rows.taken(order)


def _joined(parts: Sequence[ReadRows]) -> ReadRows:
    """The samples that all have, with their features side by side."""
    if len(parts) == 1:
        return parts[0]
    at = common_rows([part.epochs for part in parts], [part.pts for part in parts])
    fitted = [part.taken(rows) for part, rows in zip(parts, at, strict=True)]
    first = fitted[0]
    features = np.concatenate([part.features for part in fitted], axis=1)
    return replace(first, features=features)
