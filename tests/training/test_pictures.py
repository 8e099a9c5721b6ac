"""The kept pictures: what is read of any batch is what was kept, whether all of them are held or some at a time."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from moving import KINDS, keep_pictures, pictures_of
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.lake.tables import read_status
from pipeline.training.finetune import pictures
from pipeline.training.finetune.pictures import Pictures, Places, spans_of


@pytest.fixture
def videos() -> dict[str, NDArray[np.uint8]]:
    return {
        kind: np.stack(list(pictures_of(kind, seed=at, num=num)))
        for at, (kind, num) in enumerate(zip(KINDS, (5, 9), strict=True))
    }


@pytest.fixture
def kept(tmp_path: Path, videos: dict[str, NDArray[np.uint8]]) -> Dataset:
    return keep_pictures(tmp_path / "inputs", videos)[0]


def all_places(dataset: Dataset) -> Places:
    names = dataset.features.names()
    counts = [len(dataset.files.read_ours(name, lambda file: pq.ParquetFile(file).read(["pts"]))) for name in names]
    return Places(
        files=tuple(names),
        file=np.repeat(np.arange(len(names)), counts).astype(np.int32),
        row=np.concatenate([np.arange(count) for count in counts]).astype(np.int32),
    )


@pytest.mark.parametrize("is_held", [True, False], ids=["few", "many"])
def test_each_batch_has_its_own_pictures(
    is_held: bool, kept: Dataset, videos: dict[str, NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_held:
        monkeypatch.setattr(pictures, "_HELD_BYTES", 0)
        monkeypatch.setattr(pictures, "_READ_BYTES", 6 * 128 * 128 * 3)
    places = all_places(kept)
    stored = np.stack([picture for name in places.files for picture in _stored(kept, name)])
    assert {picture.tobytes() for picture in stored} == {
        picture.tobytes() for pixels in videos.values() for picture in pixels
    }
    reading = Pictures(kept, places)
    order = np.random.default_rng(0).permutation(len(places))
    for _ in range(2):
        batches = list(reading.batches(np.array_split(order, 4)))
        assert np.concatenate([batch for batch, _ in batches]).tolist() == order.tolist()
        assert all(np.array_equal(pixels, stored[batch]) for batch, pixels in batches)


def test_a_picture_may_be_in_several_batches(kept: Dataset) -> None:
    reading = Pictures(kept, all_places(kept))
    [(_, first), (_, second)] = list(reading.batches([np.array([3, 3, 0]), np.array([3])]))
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], second[0])


def test_a_dataset_of_pictures_is_like_any_other(kept: Dataset) -> None:
    status = read_status(kept.store.uri)
    assert status.info.config.content == "inputs"
    assert sorted(row["num_samples"] for row in kept.settled().to_pylist()) == [5, 9]


@pytest.mark.parametrize(
    ("rows", "spans"),
    [
        pytest.param([], [], id="none"),
        pytest.param([4], [(4, 1)], id="one"),
        pytest.param([0, 1, 2, 5, 7, 8], [(0, 3), (5, 1), (7, 2)], id="gaps"),
    ],
)
def test_rows_are_read_in_stretches(rows: list[int], spans: list[tuple[int, int]]) -> None:
    assert spans_of(np.array(rows, np.int64)) == spans


def _stored(dataset: Dataset, name: str) -> NDArray[np.uint8]:
    rows = dataset.files.read_ours(name, lambda file: pq.ParquetFile(file).read(["pixels"]))
    return np.stack([np.frombuffer(value, np.uint8).reshape(128, 128, 3) for value in rows["pixels"].to_pylist()])
