"""Lakes whose features are given: a sample a second, and columns of a manifest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rows import DIM, dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import publish_listed, publish_plan
from pipeline.lake.tables import derive
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.shards import WHOLE

Videos = Mapping[str, NDArray[np.float32]]
"""The features of each video, ``float32[T, DIM]``, by its name: its uri is ``/videos/NAME.mp4``."""


def make_lake(folder: Path, videos: Videos, **further: Any) -> str:
    """The address of a lake that is written as ``open_lake`` does it."""
    return open_lake(folder, videos, **further)[0].store.uri


def open_lake(
    folder: Path, videos: Videos, *, replaced: frozenset[str] = frozenset(), columns: Mapping[str, Any] | None = None
) -> tuple[Dataset, str]:
    """Write a lake; returns it and the token of its lease.

    Args:
        folder: where.
        videos: what it holds.
        replaced: those that are no longer current.
        columns: of the manifest, a value for each video in their order.
    """
    dataset, token = new_dataset(folder)
    further = [{name: values[at] for name, values in (columns or {}).items()} for at in range(len(videos))]
    rows = [planned(name, **each) for name, each in zip(videos, further, strict=True)]
    publish_plan(dataset, plan_table(*rows), token=token)
    for name, features in videos.items():
        row = finished(name, num_samples=len(features))
        place = row.column_names.index("features")
        row = row.set_column(place, "features", pa.array([features.tobytes()], pa.large_binary()))
        dataset.publish_features(row, dataset_info(), token=token)
    current = [id_of(name) for name in videos if name not in replaced]
    publish_listed(dataset, Ids([id_bytes(pa.chunked_array([current]))]), shard=WHOLE, token=token)
    derive(dataset, shard=WHOLE, token=token)
    return dataset, token


def blob(label: int, num: int, *, seed: int, spread: float = 0.3) -> NDArray[np.float32]:
    """Features of ``num`` samples that a straight line can tell from those of another label."""
    centre = np.zeros(DIM)
    centre[label] = 2
    return (centre + spread * np.random.default_rng(seed).standard_normal((num, DIM))).astype(np.float32)
