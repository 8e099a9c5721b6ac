"""``pipeline.read``: the rows as they are stored, whole or in part, in the form in which people work."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
import torch
from labelled_lakes import make_lake, open_lake
from numpy.typing import NDArray
from rows import DIM, dataset_info, finished, id_of, new_dataset

import pipeline
from pipeline.errors import UsageError

KEY = ["video_id", "epoch", "pts"]


def features(seed: int, *, num: int = 20) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((num, DIM)).astype(np.float32)


@pytest.fixture
def lake(tmp_path: Path) -> str:
    videos = {name: features(seed) for seed, name in enumerate("abc")}
    return make_lake(tmp_path / "lake", videos, columns={"camera": ["gate", "yard", "gate"]})


def test_arrow_has_the_rows_as_they_are_stored(lake: str) -> None:
    stored = pads.dataset(f"{lake}/features", format="parquet").to_table()
    found = pipeline.read(lake).to_arrow()
    by_key = [(name, "ascending") for name in KEY]
    assert found.schema.equals(stored.schema)
    assert found.sort_by(by_key).to_pylist() == stored.sort_by(by_key).to_pylist()
    assert sum(len(part) for part in pipeline.read(lake).batches(["uri"])) == len(stored)


def test_columns_may_be_chosen(lake: str) -> None:
    assert pipeline.read(lake).to_arrow(["uri", "time_s"]).column_names == ["uri", "time_s"]
    with pytest.raises(UsageError, match="features has no column 'colour'"):
        pipeline.read(lake).to_arrow(["colour"])


@pytest.mark.parametrize(
    ("part", "num_rows"),
    [
        ({}, 60),
        ({"where": "camera = 'gate'"}, 40),
        ({"where": {"camera": "yard"}}, 20),
        ({"where": {"camera": "none"}}, 0),
        ({"since": "2023-11-14T22:13:30Z"}, 30),
        ({"where": {"camera": "gate"}, "until": "2023-11-14T22:13:22Z"}, 4),
    ],
    ids=["all", "sql", "values", "none", "since", "both"],
)
def test_a_part_is_the_same_in_every_form(lake: str, part: dict[str, object], num_rows: int) -> None:
    found = pipeline.read(lake, **part)  # type: ignore[arg-type]
    assert len(found.to_arrow()) == num_rows
    assert len(found.to_pandas()) == num_rows
    assert len(found.to_torch()) == num_rows
    assert len(found.to_huggingface()) == num_rows


def test_torch_gives_each_row_by_its_number_and_to_its_loader(lake: str) -> None:
    tensors = pickle.loads(pickle.dumps(pipeline.read(lake).to_torch()))  # as a loader's workers get it
    by_key = {(row["video_id"], row["pts"]): row["feature"] for row in pipeline.read(lake).to_arrow().to_pylist()}
    for number in (0, 25, len(tensors) - 1, -1):
        item = tensors[number]
        assert isinstance(item["feature"], torch.Tensor)
        assert item["feature"].tolist() == by_key[(item["video_id"], item["pts"])]
    batches = list(torch.utils.data.DataLoader(tensors, batch_size=16, shuffle=True))
    assert sum(len(batch["feature"]) for batch in batches) == 60
    assert batches[0]["feature"].shape == (16, DIM)
    with pytest.raises(IndexError):
        tensors[60]


def test_features_of_a_video_are_in_the_order_of_time(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    for index in (1, 0):
        dataset.publish_features(finished("a", index, num_samples=3), dataset_info(), token=token)
    reader = pipeline.read(str(tmp_path))
    rows = reader.to_arrow().sort_by("pts")
    assert reader.features(id_of("a")).tolist() == rows["feature"].to_pylist()
    with pytest.raises(UsageError, match="no row of a video 'none'"):
        reader.features("none")


def test_videos_and_quarantine_are_tables(lake: str) -> None:
    reader = pipeline.read(lake)
    assert sorted(reader.videos["camera"].to_pylist()) == ["gate", "gate", "yard"]
    assert len(reader.quarantine) == 0


def test_rows_of_replaced_videos_are_left_out(tmp_path: Path) -> None:
    dataset, _ = open_lake(tmp_path, {"old": features(1), "new": features(2)}, replaced=frozenset({"old"}))
    assert set(pipeline.read(dataset.store.uri).to_arrow(["uri"])["uri"].to_pylist()) == {"/videos/new.mp4"}


def test_half_precision_is_read_too(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path, dtype="float16")
    dataset.publish_features(finished("a", num_samples=3), dataset_info(dtype="float16"), token=token)
    reader = pipeline.read(str(tmp_path))
    stored = np.array(reader.to_arrow()["feature"].to_pylist())
    assert reader.features(id_of("a")).tolist() == stored.tolist()
    assert reader.to_torch()[0]["feature"].tolist() == stored[0].tolist()  # type: ignore[union-attr]


def test_no_dataset_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dataset at"):
        pipeline.read(str(tmp_path / "none"))
    some = pipeline.read(make_lake(tmp_path / "lake", {"a": features(1)}), where="camera = ")
    with pytest.raises(UsageError, match="bad --where"):
        some.to_arrow()
