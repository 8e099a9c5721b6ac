"""Several models, their thumbnails and shots in a folder or a bucket: what a run leaves out, `retry` adds."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ClipFactory
from lakes import joining, vidlake

from pipeline.lake.publishing.backends import backend_at

pytestmark = pytest.mark.slow

MODELS = {"video_cnn": "random:0", "resnet18": "random:0"}
PLACES = ["folder", *(pytest.param(place, marks=pytest.mark.soak) for place in ("s3", "azure"))]
TABLES = ("video_cnn/features", "resnet18/features", "thumbnails")


def rows_of(place: str, name: str) -> pa.Table:
    store = backend_at(place).store
    tables = [pq.read_table(pa.BufferReader(store.read(file))) for file in store.list(name)]
    keys = [("video_id", "ascending"), ("pts", "ascending")]
    return pa.concat_tables(tables, promote_options="default").sort_by(keys)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_retry_adds_to_each_model_and_to_the_thumbnails_what_a_run_could_not_read(
    place: str, tmp_path: Path, clips: ClipFactory, shared_ray: str
) -> None:
    archive, elsewhere = tmp_path / "archive", tmp_path / "elsewhere.mp4"
    archive.mkdir()
    os.link(clips(num_frames=50, seed=0), archive / "sound.mp4")
    (archive / "absent.mp4").symlink_to(elsewhere)
    words = [word for name, weights in MODELS.items() for word in ("--model", f"{name}={weights}")]
    how = joining(shared_ray, place=place)
    words = [*words, "--thumbnails", "48", "--sample", "fps:5", *how]

    vidlake("extract", archive, "--out", place, *words)
    assert [len(rows_of(place, name)) for name in TABLES] == [10, 10, 10]

    os.link(clips(num_frames=50, seed=1), elsewhere)
    vidlake("retry", place, *how)
    told = json.loads(vidlake("status", place, "--json").stdout)
    before = [rows_of(place, name) for name in TABLES]
    assert [len(rows) for rows in before] == [20, 20, 20]
    assert {name: each["videos"]["ok"] for name, each in told["datasets"].items()} == dict.fromkeys(MODELS, 2)
    assert told["side_tables"]["thumbnails"]["num_rows"] == 20

    vidlake("extract", archive, "--out", place, *words)
    assert [rows_of(place, name).equals(rows) for name, rows in zip(TABLES, before, strict=True)] == [True] * 3


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_retry_finds_the_shots_of_what_a_run_could_not_read(
    place: str, tmp_path: Path, clips: ClipFactory, shared_ray: str
) -> None:
    archive, elsewhere, how = tmp_path / "archive", tmp_path / "elsewhere.mp4", joining(shared_ray, place=place)
    archive.mkdir()
    os.link(clips(num_frames=50, seed=0), archive / "sound.mp4")
    (archive / "absent.mp4").symlink_to(elsewhere)

    vidlake("shots", archive, "--out", place, *how)
    store = backend_at(place).store
    assert len({name for file in store.list("shots") for name in _videos_of(store.read(file))}) == 1

    os.link(clips(num_frames=50, seed=1), elsewhere)
    vidlake("retry", f"{place}/_vidlake/shots", *how)
    vidlake("shots", archive, "--out", place, *how)
    assert len({name for file in store.list("shots") for name in _videos_of(store.read(file))}) == 2


def _videos_of(data: bytes) -> set[str]:
    return set(pq.read_table(pa.BufferReader(data))["video_id"].to_pylist())
