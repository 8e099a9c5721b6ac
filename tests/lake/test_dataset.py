"""The dataset folder: what is done is told by footers, and nothing is published twice."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from rows import (
    config,
    dataset_info,
    features_of,
    finished,
    id_of,
    new_dataset,
    plan_table,
    planned,
)

from pipeline.errors import RunError, UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.derived import Derived
from pipeline.lake.files import ForeignFile
from pipeline.lake.planned import PlanFiles, Planned, publish_listed, publish_plan
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.tables import derive
from pipeline.records.ids import Ids
from pipeline.records.model_info import FeatureType
from pipeline.records.settled import Settled
from pipeline.records.shards import WHOLE
from pipeline.records.tables import VIDEOS

INFO = dataset_info()


def features_files(dataset: Dataset) -> list[Path]:
    return sorted((Path(dataset.store.uri) / "features").iterdir())


def plan_parts(dataset: Dataset) -> list[pa.Table]:
    plan = PlanFiles(dataset.files)
    return [plan.part(name, ["video_id"]) for name in plan.names()]


def settled(dataset: Dataset) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = dataset.settled().to_pylist()
    return sorted(rows, key=lambda row: (row["video_id"], row["segment"] or -1, row["attempts"]))


def test_two_writers_of_the_same_segments_publish_one_file(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    one, other = finished("a"), finished("b", 3)
    assert dataset.publish_features(pa.concat_tables([one, other]), INFO, token=token) > 0
    [path] = features_files(dataset)
    first = path.read_bytes()
    assert dataset.publish_features(pa.concat_tables([other, one]), INFO, token=token) == 0
    assert [path] == features_files(dataset)
    path.unlink()
    dataset.publish_features(pa.concat_tables([other, one]), INFO, token=token)
    assert path.read_bytes() == first, "the same rows in another order are the same bytes"


def test_segment_that_is_twice_in_a_batch_is_stored_once(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(pa.concat_tables([finished("a"), finished("b"), finished("a")]), INFO, token=token)
    assert ds.dataset(tmp_path / "features").count_rows() == 4
    assert len(settled(dataset)) == 2


def test_stale_worker_cannot_publish_after_takeover(tmp_path: Path) -> None:
    dataset, stale = new_dataset(tmp_path)
    (tmp_path / "_vidlake/leases/1-of-1.json").unlink()  # as if that run had died
    token = dataset.backend.acquire(slot=WHOLE).token
    dataset.store.publish("videos/old.parquet", b"old")
    writes: list[Callable[[], object]] = [
        lambda: dataset.publish_features(finished("a"), INFO, token=stale),
        lambda: dataset.settle([Settled.complete(id_of("a"), 0, attempts=1, num_samples=0)], INFO, token=stale),
        lambda: publish_plan(dataset, plan_table(planned("a")), token=stale),
        lambda: publish_listed(dataset, Ids(), shard=WHOLE, token=stale),
        lambda: derive(dataset, shard=WHOLE, token=stale),
        lambda: Derived(dataset.files, VIDEOS, is_alone=True, token=stale).close(),
    ]
    for write in writes:
        with pytest.raises(LeaseLost, match="taken over by another run"):
            write()
    assert dataset.store.list("features") == []
    assert dataset.store.list("videos") == ["videos/old.parquet"]
    assert dataset.publish_features(finished("a"), INFO, token=token) > 0


def test_what_is_done_is_told_by_footers_alone(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    batch = [
        finished("a", 0),
        finished("a", 1, num_samples=0),
        finished("a", 2, reason="crashed", num_samples=0, attempts=2),
        finished("a", 3, reason="corrupt", num_samples=1, num_corrupt=1),
    ]
    dataset.publish_features(pa.concat_tables(batch), INFO, token=token)
    dataset.settle([Settled.failed(id_of("z"), attempts=1, reason="not_video", detail="why")], INFO, token=token)
    for path in [*tmp_path.iterdir()]:
        if path.name != "features":
            shutil.rmtree(path)
    names = ("segment", "attempts", "reason", "missing_start_s", "missing_end_s", "num_samples", "num_corrupt")
    told = {tuple(row[name] for name in names) for row in settled(Dataset.at(str(tmp_path)))}
    assert told == {
        (0, 1, None, None, None, 2, 0),
        (1, 1, None, None, None, 0, 0),
        (2, 2, "crashed", 27.0, 36.0, 0, 0),
        (3, 1, "corrupt", 39.0, 48.0, 1, 1),
        (None, 1, "not_video", None, None, 0, 0),
    }


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_reader_sees_plain_types(tmp_path: Path, dtype: FeatureType) -> None:
    import polars as pl

    dataset, token = new_dataset(tmp_path, dtype=dtype)
    dataset.publish_features(finished("a", num_samples=3), dataset_info(dtype=dtype), token=token)
    dataset.publish_features(finished("b", num_samples=0), dataset_info(dtype=dtype), token=token)
    value = pa.float32() if dtype == "float32" else pa.float16()
    expected = features_of("a", 0, 3).astype(dtype)
    glob = f"{tmp_path}/features/*.parquet"

    table = ds.dataset(tmp_path / "features").to_table()
    assert table.schema.field("feature").type == pa.list_(value, 4)
    assert {str(table.schema.field(name).type) for name in ("video_id", "uri", "time_base")} == {"string"}
    assert np.array_equal(np.array(table["feature"].to_pylist(), dtype), expected)
    assert table["time_base"].to_pylist() == ["1/1000"] * 3

    rows = duckdb.connect().execute(f"select uri, pts, feature from '{glob}' order by pts").fetchall()
    assert [row[1] for row in rows] == [0, 1000, 2000]
    assert np.array_equal(np.array([row[2] for row in rows], dtype), expected)

    frame = pl.read_parquet(glob)
    assert frame.schema["uri"] == pl.String
    assert np.array_equal(frame["feature"].to_numpy(), expected)

    assert np.array_equal(np.stack(list(pd.read_parquet(tmp_path / "features")["feature"])), expected)


def test_features_file_is_laid_out_for_fast_reading(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(finished("a", num_samples=3000), INFO, token=token)
    [path] = features_files(dataset)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [1024, 1024, 952]
    columns = {metadata.row_group(0).column(at).path_in_schema: metadata.row_group(0).column(at) for at in range(10)}
    assert {column.compression for column in columns.values()} == {"ZSTD"}
    assert "BYTE_STREAM_SPLIT" in columns["feature.list.element"].encodings
    assert json.loads(pq.read_schema(path).metadata[b"vidlake"]) == json.loads(json.dumps(INFO.to_json()))


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1 \x00\x00\x00 PAR1", None])
def test_foreign_file_among_the_features_is_named_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(finished("a"), INFO, token=token)
    path = tmp_path / "features" / "mine.parquet"
    if content is None:
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"features/mine\.parquet cannot be among the features.*move it") as caught:
        dataset.settled()
    assert "\n" not in str(caught.value)


def test_features_file_that_was_cut_is_named_in_one_line(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(finished("a"), INFO, token=token)
    [path] = features_files(dataset)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(RunError, match=f"{path.name} cannot be among the features"):
        dataset.settled()


@pytest.mark.parametrize("name", ["x.parquet.tmp", ".hidden.parquet", "_SUCCESS", "notes.txt"])
def test_files_that_no_reader_sees_are_passed_over(tmp_path: Path, name: str) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(finished("a"), INFO, token=token)
    (tmp_path / "features" / name).write_bytes(b"x")
    assert len(settled(dataset)) == 1


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def of_what_is_no_video(path: Path) -> None:
    rows = pq.read_table(path)
    pq.write_table(rows.set_column(rows.schema.get_field_index("video_id"), "video_id", pa.array(["no id"])), path)


@pytest.mark.parametrize("damage", [cut_short, of_what_is_no_video])
def test_damaged_plan_file_is_named_in_one_line(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    dataset, token = new_dataset(tmp_path)
    publish_plan(dataset, plan_table(planned("a")), token=token)
    [path] = (tmp_path / "_vidlake/plan").iterdir()
    damage(path)
    with pytest.raises(ForeignFile, match=f"{path.name} is damaged: remove it"):
        Planned(dataset)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", '{"model": "x"}', '{"model": {"preprocessing": null}}', "\ud800"],
)
def test_damaged_configuration_is_told_in_one_line(tmp_path: Path, content: str) -> None:
    dataset, _ = new_dataset(tmp_path)
    (tmp_path / "_vidlake/config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(UsageError, match=r"config\.json is damaged .*restore it or give another --out") as caught:
        dataset.info()
    assert "\n" not in str(caught.value)


def test_configuration_of_an_impossible_precision_is_damaged(tmp_path: Path) -> None:
    dataset, _ = new_dataset(tmp_path)
    path = tmp_path / "_vidlake/config.json"
    path.write_text(path.read_text().replace('"fp32"', '"fp8"'))
    with pytest.raises(UsageError, match="precision is 'fp8'"):
        dataset.info()


def test_lost_configuration_is_read_from_the_features(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(finished("a"), INFO, token=token)
    (tmp_path / "_vidlake/config.json").unlink()
    assert dataset.info() == INFO
    with pytest.raises(UsageError, match="--model is tiny, not huge"):
        dataset.check(config(model="huge"))


def test_dataset_has_one_configuration(tmp_path: Path) -> None:
    dataset, _ = new_dataset(tmp_path)
    dataset.check(config())
    with pytest.raises(UsageError, match=r"made with other settings: --sample is fps:1, not every:2; give another"):
        dataset.check(config(sample="every:2"))


def test_folder_without_a_dataset_is_told_apart(tmp_path: Path) -> None:
    dataset = Dataset.at(str(tmp_path))
    assert dataset.info() is None
    assert dataset.settled().num_rows == 0
    assert plan_parts(dataset) == []
    with pytest.raises(UsageError, match="no dataset at"):
        dataset.existing()
    assert os.listdir(tmp_path) == []


def test_long_plans_and_many_failures_go_into_several_files(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    rows = [planned(str(at), reason="unreadable") for at in range(7000)]
    for _ in range(2):
        publish_plan(dataset, plan_table(*rows), token=token)
    assert sorted(len(part) for part in plan_parts(dataset)) == [2000, 5000]
    failed = [Settled.failed(row["video_id"], attempts=1, reason="unreadable", detail="why") for row in rows]
    dataset.settle(failed, INFO, token=token)
    assert len(features_files(dataset)) == 2
    assert dataset.settled().num_rows == 7000


def test_footers_are_not_kept_twice_in_the_file(tmp_path: Path) -> None:
    """Parquet stores a schema's own metadata a second time, in base64."""
    dataset, token = new_dataset(tmp_path)
    dataset.publish_features(pa.concat_tables([finished("a", at) for at in range(500)]), INFO, token=token)
    [path] = features_files(dataset)
    stored = pq.read_metadata(path).metadata
    assert len(stored[b"ARROW:schema"]) < 8_000 < len(stored[b"vidlake.settled"])


def test_killed_commit_leaves_a_whole_file_or_none(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[3]); import rows\n"
        "import pipeline.lake.publishing.folder_store as publish\n"
        "real = os.fsync\n"
        "publish.os.fsync = lambda fd: os.kill(os.getpid(), 9)\n"
        "rows.Dataset.at(sys.argv[1]).publish_features(rows.finished('a'), rows.dataset_info(), token=sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(tmp_path), token, str(Path(__file__).parents[1])]
    assert subprocess.run(command, check=False).returncode == -9
    assert settled(dataset) == []
    dataset.publish_features(finished("a"), INFO, token=token)
    assert len(settled(dataset)) == 1
