"""Making the index of a group: lists by k-means over a sample of its rows, then each row into its list."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.unpacked.array_file import written_arrays
from pipeline.lake.unpacked.copies import FeaturesFile
from pipeline.lake.unpacked.feature_rows import FeatureRows
from pipeline.records.extras import missing

_ROWS = 8192
_SAMPLES_PER_LIST = 48
_ITERATIONS = 8
_MOST_CODE = 255


def require_faiss() -> None:
    """Make sure that the library that finds the lists is there.

    Raises:
        UsageError: it is not.
    """
    try:
        import faiss  # noqa: F401
    except ImportError:
        raise UsageError(missing("faiss-cpu", extra="search", command="index")) from None


def build_group(
    path: Path,
    files: Sequence[tuple[FeaturesFile, FeatureRows]],
    *,
    configuration: str,
    temporary: Path,
) -> None:
    """Make the file of a group; it appears whole under its name.

    Raises:
        DiskRefused: the disk is full.
    """
    counts = [len(rows) for _, rows in files]
    num_rows, dim = sum(counts), files[0][1].vectors.shape[1]
    num_lists = max(1, round(num_rows**0.5))
    sample = _sample(files, num_lists * _SAMPLES_PER_LIST)
    centres = _centres(sample, num_lists)
    low = sample.min(axis=0) if len(sample) else np.zeros(dim, np.float32)
    high = sample.max(axis=0) if len(sample) else np.zeros(dim, np.float32)
    step = np.maximum(high - low, np.float32(1e-12)) / _MOST_CODE
    del sample
    lists = np.concatenate([np.empty(0, np.int32), *(_nearest(units, centres) for units in _units(files))])
    order = np.argsort(lists, kind="stable")
    place = np.empty(num_rows, np.int64)
    place[order] = np.arange(num_rows)
    with written_arrays(path, temporary=temporary) as writer:
        keys = np.array([file.key.encode() for file, _ in files])
        writer.add("keys", keys.view(np.uint8).reshape(len(files), -1))
        writer.add("firsts", np.append(0, np.cumsum(counts)).astype(np.int64))
        writer.add("centres", centres)
        writer.add("ends", np.searchsorted(lists[order], np.arange(num_lists), side="right").astype(np.int64))
        writer.add("low", low)
        writer.add("step", step)
        writer.add("rows", order.astype(np.int64))
        writer.declare("codes", "uint8", num_rows, dim)
        codes, done = writer.mapped("codes"), 0
        for units in _units(files):
            codes[place[done : done + len(units)]] = np.clip(np.rint((units - low) / step), 0, _MOST_CODE)
            done += len(units)
        del codes
        writer.close({"configuration": configuration})


def _units(files: Sequence[tuple[FeaturesFile, FeatureRows]]) -> Iterator[NDArray[np.float32]]:
    """The rows as vectors of length 1, some thousand at a time."""
    for _, rows in files:
        for begin in range(0, len(rows), _ROWS):
            yield units_of(rows, slice(begin, min(begin + _ROWS, len(rows))))


def units_of(rows: FeatureRows, some: "slice | NDArray[np.int64]") -> NDArray[np.float32]:
    """Some rows as vectors of length 1; zeros where they are not finite."""
    scales = rows.scales[some]
    with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite have the scale 0
        units: NDArray[np.float32] = rows.vectors[some].astype(np.float32) * scales[:, None]
    units[scales == 0] = 0
    return units


def _sample(files: Sequence[tuple[FeaturesFile, FeatureRows]], count: int) -> NDArray[np.float32]:
    """About so many rows, evenly over all."""
    total = sum(len(rows) for _, rows in files)
    chosen = np.unique(np.linspace(0, max(0, total - 1), min(count, total)).astype(np.int64))
    parts, first = [np.empty((0, files[0][1].vectors.shape[1]), np.float32)], 0
    for _, rows in files:
        own = chosen[(chosen >= first) & (chosen < first + len(rows))] - first
        parts.append(units_of(rows, own))
        first += len(rows)
    return np.concatenate(parts)


def _centres(sample: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    import faiss

    if len(sample) <= count:
        return sample if len(sample) else np.zeros((1, sample.shape[1]), np.float32)
    means = faiss.Kmeans(
        sample.shape[1], count, niter=_ITERATIONS, spherical=True, seed=1, min_points_per_centroid=1, verbose=False
    )
    means.train(sample)
    centres: NDArray[np.float32] = np.ascontiguousarray(means.centroids, np.float32)
    return centres


def _nearest(units: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    nearest: NDArray[np.int32] = (units @ centres.T).argmax(axis=1).astype(np.int32)
    return nearest
