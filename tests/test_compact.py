"""A dataset written anew in large files: the same rows, each once, whatever happens on the way."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from rows import dataset_info, finished, new_dataset, plan_table, planned

from pipeline.catalogue import Catalogue, cut
from pipeline.compact import Compacted, check_target, compact
from pipeline.dataset import Dataset
from pipeline.derived import derive, pending_tasks, totals, unsettled_failures
from pipeline.errors import UsageError
from pipeline.footers import ForeignFile
from pipeline.gather import RUNS, Layout
from pipeline.ledger import Ledger, Planned
from pipeline.lease import Lease, LeaseLost
from pipeline.records import FeatureType

KEY = ["video_id", "epoch", "segment", "pts"]
NUM_VIDEOS, NUM_SEGMENTS = 40, 3


def old_dataset(folder: Path, *, dtype: FeatureType = "float32", num_samples: int = 60) -> tuple[Dataset, str]:
    """Videos whose segments are spread over many small files, with every way to end; two segments are left to do."""
    dataset, token = new_dataset(folder, dtype=dtype)
    names = [f"v{number}" for number in range(NUM_VIDEOS)]
    dataset.publish_plan(plan_table(*(planned(name, segments=NUM_SEGMENTS, camera="north") for name in names)), token=token)
    dataset.publish_plan(plan_table(planned("absent", reason="unreadable")), token=token)
    for entries in unsettled_failures(Planned(dataset), Ledger.of(dataset.settled_parts())):
        dataset.settle(entries, dataset_info(dtype=dtype), token=token)
    commit(dataset, token, *(segments_of(names, num_samples=num_samples)), dtype=dtype)
    commit(dataset, token, finished("v1", 2, num_samples=5, attempt=2), dtype=dtype)
    dataset.publish_listing(pa.array(sorted(row["video_id"] for row in map(planned, names))), token=token)
    derive(dataset, token=token)
    return dataset, token


def segments_of(names: list[str], *, num_samples: int) -> list[pa.Table]:
    rng = random.Random(0)
    ends: dict[tuple[str, int], Callable[[], pa.Table]] = {
        ("v1", 2): lambda: finished("v1", 2, num_samples=0, outcome="crashed"),
        ("v2", 0): lambda: finished("v2", 0, num_samples=0, outcome="timeout"),
        ("v3", 1): lambda: finished("v3", 1, num_samples=0),
        ("v4", 1): lambda: finished("v4", 1, num_samples=7, outcome="corrupt", num_corrupt=2),
    }
    left_to_do = {("v5", 2), ("v6", 0)}
    keys = [key for key in itertools.product(names, range(NUM_SEGMENTS)) if key not in left_to_do]
    rng.shuffle(keys)
    return [
        ends[key]() if key in ends else finished(*key, num_samples=num_samples + rng.randrange(num_samples))
        for key in keys
    ]


def commit(dataset: Dataset, token: str, *segments: pa.Table, dtype: FeatureType = "float32") -> None:
    for at in range(0, len(segments), 7):
        dataset.publish_features(pa.concat_tables(segments[at : at + 7]), dataset_info(dtype=dtype), token=token)


def empty(folder: Path) -> tuple[Dataset, str]:
    dataset = Dataset.at(str(folder))
    dataset.store.ensure_writable()
    return dataset, Lease.acquire(dataset.root).token


def compacted(source: Dataset, folder: Path, **sizes: int) -> tuple[Dataset, Compacted]:
    check_target(source, Dataset.at(str(folder)))
    dataset, token = empty(folder)
    return dataset, compact(source, dataset, token=token, **sizes)


def rows(dataset: Dataset) -> pa.Table:
    return ds.dataset(dataset.root / "features").to_table().sort_by([(name, "ascending") for name in KEY])


def files(dataset: Dataset) -> list[Path]:
    return sorted((dataset.root / "features").iterdir())


def settled(dataset: Dataset) -> list[dict[str, Any]]:
    """How each segment ended at last."""
    ledger = Ledger.of(dataset.settled_parts())
    return ledger.entries(np.arange(len(ledger.keys)))


def bits(table: pa.Table) -> bytes:
    values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return values.tobytes()


@pytest.fixture
def old(tmp_path: Path) -> Dataset:
    return old_dataset(tmp_path / "old")[0]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, id="in one file"),
        pytest.param({"file_bytes": 40_000}, id="in several files"),
        pytest.param({"file_bytes": 40_000, "memory_bytes": 200_000}, id="in several files, from sorted runs"),
        pytest.param({"file_bytes": 2_000, "memory_bytes": 1}, id="in the smallest files and runs"),
    ],
)
def test_rows_are_the_same_before_and_after(tmp_path: Path, dtype: FeatureType, sizes: dict[str, int]) -> None:
    source, _ = old_dataset(tmp_path / "old", dtype=dtype)
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    target, done = compacted(source, tmp_path / "new", **sizes)
    one, other = rows(source), rows(target)
    assert one.schema == other.schema
    assert one.drop_columns(["feature"]).equals(other.drop_columns(["feature"]))
    assert bits(one) == bits(other)
    assert len(other) == done.num_samples == len(pa.TableGroupBy(other, KEY).aggregate([]))
    assert settled(source) == settled(target)
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()} == before
    assert list((tmp_path / "new" / RUNS).glob("*")) == []
