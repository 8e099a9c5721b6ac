"""A folder of datasets speaks of all of them; what takes a single dataset names them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.cli.dataset_commands import compact, status
from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.model_folders import datasets_within, existing_dataset, folder_above
from pipeline.lake.planned import publish_plan
from pipeline.records.settled import Settled
from pipeline.records.shards import WHOLE
from pipeline.records.tables import Table
from pipeline.records.thumbnails import thumbnails_table


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two datasets, one of which is further on, beside a folder that is none and thumbnails of the folder's own."""
    folder = tmp_path / "lake"
    for name, num_segments in (("small", 2), ("timm-large", 1)):
        dataset, token = new_dataset(folder / name)
        publish_plan(dataset, plan_table(planned("a", segments=2)), token=token)
        for index in range(num_segments):
            dataset.publish_features(finished("a", index, num_samples=3), dataset_info(), token=token)
    (folder / "notes").mkdir()
    above = Dataset.at(str(folder))
    with_thumbnails(above, thumbnails_table(64, sample="fps:1"))
    return folder


def with_thumbnails(dataset: Dataset, table: Table) -> None:
    dataset.store.ensure_writable()
    token = dataset.backend.acquire(slot=WHOLE).token
    video = id_of("a")
    entry = Settled.complete(video, 0, attempts=1, num_samples=1)
    row = {"video_id": video, "uri": "/a", "epoch": 0, "pts": 0, "time_s": 0.0, "width": 1, "height": 1, "jpeg": b"x"}
    rows = pa.Table.from_pylist([row], schema=table.schema)
    dataset.publish(table, rows, [entry], token=token)


def told(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(CliRunner().invoke(status, [str(folder), "--json"]).output)
    return document


def test_status_of_the_folder_is_that_of_each(lake: Path) -> None:
    above = told(lake)
    assert list(above["datasets"]) == ["small", "timm-large"]
    for name, found in above["datasets"].items():
        alone = told(lake / name)
        assert alone.pop("uri") == str(lake / name)
        assert found == alone
    assert [found["num_samples"] for found in above["datasets"].values()] == [6, 3]
    assert above["side_tables"] == {"thumbnails": {"num_rows": 1, "num_files": 1, "num_settled": 1}}
    lines = CliRunner().invoke(status, [str(lake)]).output.splitlines()
    assert lines[0] == f"1 videos: 1 ok, 0 partial, 0 failed in {lake}/small"
    assert f"0 failed, 1 unfinished in {lake}/timm-large" in lines[3]
    assert lines[-1] == "thumbnails: 1 rows in 1 files"


def test_a_dataset_that_was_copied_away_is_one(lake: Path, tmp_path: Path) -> None:
    shutil.copytree(lake / "small", tmp_path / "elsewhere")
    before = told(lake / "small")
    shutil.rmtree(lake)
    assert told(tmp_path / "elsewhere") == before | {"uri": str(tmp_path / "elsewhere")}


def test_what_takes_one_dataset_names_those_that_are_there(lake: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"\(small, timm-large\): give one of them, .* {lake}/small") as error:
        existing_dataset(str(lake), command="compact")
    with pytest.raises(UsageError) as same:
        CliRunner().invoke(
            compact, [str(lake), "--out", str(tmp_path / "new")], standalone_mode=False, catch_exceptions=False
        )
    assert str(same.value) == str(error.value)
    assert not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="no dataset at"):
        existing_dataset(str(tmp_path / "nothing"), command="compact")
    assert existing_dataset(str(lake / "small"), command="compact").info() == dataset_info()


def test_the_datasets_of_a_folder(lake: Path) -> None:
    assert list(datasets_within(str(lake))) == list(datasets_within(f"{lake}/")) == ["small", "timm-large"]
    assert datasets_within(str(lake / "small")) == datasets_within(str(lake / "nothing")) == {}
    assert folder_above("s3://bucket/lake/small") == "s3://bucket/lake"
