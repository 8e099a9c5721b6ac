"""Unpacked copies: the numbers of the features files, made once, removable at any time, believed only if whole."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import DIM, dataset_info, finished, id_of, new_dataset

from pipeline.lake.appended_file import file_with
from pipeline.lake.dataset import Dataset
from pipeline.lake.files import ForeignFile
from pipeline.lake.unpacked.array_file import BadArrayFile, open_arrays, written_arrays
from pipeline.lake.unpacked.copies import Copies
from pipeline.lake.unpacked.feature_rows import FeatureRows
from pipeline.records.model_info import FeatureType


def lake(folder: Path | str, *, dtype: FeatureType = "float32", num_videos: int = 3) -> Dataset:
    return open_lake(folder, dtype=dtype, num_videos=num_videos)[0]


def open_lake(folder: Path | str, *, dtype: FeatureType = "float32", num_videos: int = 3) -> tuple[Dataset, str]:
    dataset, token = new_dataset(folder, dtype=dtype)
    for number in range(num_videos):
        for index in range(2):
            row = finished(f"video {number}", index, num_samples=3 + number)
            dataset.publish_features(row, dataset_info(dtype=dtype), token=token)
    return dataset, token


def copies_of(dataset: Dataset) -> Copies:
    return Copies(dataset, dataset.existing())


def made(copies: Copies) -> list[FeatureRows]:
    assert copies.make(copies.files(), say=lambda _: None)
    return [rows for file in copies.files() if (rows := copies.opened(file)) is not None]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_copy_holds_the_very_numbers_of_its_file(tmp_path: Path, dtype: FeatureType) -> None:
    dataset = lake(tmp_path, dtype=dtype)
    copies = copies_of(dataset)
    made(copies)
    for file in copies.files():
        rows, table = copies.opened(file), pq.read_table(tmp_path / file.name)
        assert rows is not None
        stored = np.stack(table["feature"].to_numpy(zero_copy_only=False))
        assert rows.vectors.dtype == np.dtype(dtype)
        assert (rows.vectors == stored).all()
        assert rows.pts.tolist() == table["pts"].to_pylist()
        assert rows.times_s.tolist() == table["time_s"].to_pylist()
        owners = rows.runs[rows.runs_of(np.arange(len(rows)))]
        assert [owner.decode() for owner in owners["video_id"]] == table["video_id"].to_pylist()
        assert [rows.uris[int(number)] for number in owners["uri"]] == table["uri"].to_pylist()
        assert owners["segment"].tolist() == table["segment"].to_pylist()
        lengths = np.linalg.norm(stored.astype(np.float64), axis=1)
        assert rows.scales == pytest.approx(1 / lengths, rel=1e-3 if dtype == "float16" else 1e-6)


def test_copies_lie_in_the_lake_where_no_reader_looks(tmp_path: Path) -> None:
    dataset = lake(tmp_path)
    said: list[str] = []
    copies = copies_of(dataset)
    copies.make(copies.files(), say=said.append)
    assert copies.folder == tmp_path / "_vidlake" / "search"
    assert len(list(copies.folder.glob("*.*.new"))) == 6
    assert len(said) == 1
    assert "MB of features into" in said[0]
    assert copies.make(copies.files(), say=said.append)
    assert len(said) == 1


def test_copies_of_a_lake_in_a_bucket_lie_in_the_users_cache(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copies = copies_of(lake(bucket))
    assert len(made(copies)) == 6
    assert copies.folder is not None
    assert copies.folder.parent == tmp_path / "vidlake" / "search"
    assert copies.index_folder == copies.folder / "index"


def test_copies_may_be_removed_at_any_time(tmp_path: Path) -> None:
    dataset = lake(tmp_path)
    copies = copies_of(dataset)
    rows = made(copies)[0]
    before = rows.vectors.copy()
    shutil.rmtree(tmp_path / "_vidlake" / "search")
    assert (rows.vectors == before).all()
    assert len(made(copies_of(dataset))) == 6


@pytest.mark.parametrize("damage", ["cut short", "longer", "other bytes", "empty", "another header", "other runs"])
def test_a_copy_that_is_not_whole_is_made_again(tmp_path: Path, damage: str) -> None:
    dataset = lake(tmp_path, num_videos=1)
    copies = copies_of(dataset)
    made(copies)
    assert copies.folder is not None
    for path in copies.folder.glob("*.*.new"):
        data = path.read_bytes()
        header = json.loads(data[: 1 << 16].rstrip(b"\0"))
        if damage == "another header":
            header["arrays"][0]["shape"][0] = 10**12
        changed = {
            "cut short": data[:-1],
            "longer": data + b"x",
            "other bytes": os.urandom(len(data)),
            "empty": b"",
            "another header": json.dumps(header).encode().ljust(1 << 16, b"\0") + data[1 << 16 :],
            "other runs": data,
        }[damage]
        path.write_bytes(changed)
        if damage == "other runs":
            _, arrays = open_arrays(path)
            with written_arrays(path, temporary=path.with_suffix(".tmp")) as writer:
                for name, values in arrays.items():
                    writer.add(name, values[:0] if name == "runs" else values)
                writer.close({})
    again = copies_of(dataset)
    assert all(again.opened(file) is None for file in again.files())
    assert len(made(again)) == 2


def test_copies_of_files_that_have_gone_are_removed(tmp_path: Path) -> None:
    dataset, token = open_lake(tmp_path)
    copies = copies_of(dataset)
    made(copies)
    assert copies.folder is not None
    (tmp_path / copies.files()[0].name).unlink()
    (copies.folder / "tmp" / "left by a killed one").write_bytes(b"")
    new = finished("new", num_samples=2)
    dataset.publish_features(new, dataset_info(), token=token)
    copies.make(copies.files(), say=lambda _: None)
    assert len(list(copies.folder.glob("*.*.new"))) == 6
    assert [path.name for path in (copies.folder / "tmp").iterdir()] == ["making.lock"]


def test_a_features_file_of_another_length_is_foreign(tmp_path: Path) -> None:
    dataset = lake(tmp_path, num_videos=1)
    copies = copies_of(dataset)
    name = copies.files()[0].name
    table = pq.read_table(tmp_path / name)
    longer = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(len(table) * 5, np.float32)), 5)
    table = table.set_column(table.schema.get_field_index("feature"), "feature", longer)
    (tmp_path / name).write_bytes(file_with(table, {b"vidlake.settled": []}).to_pybytes())
    with pytest.raises(ForeignFile, match="its features have 5 values, not 4"):
        copies.make(copies.files(), say=lambda _: None)


def test_one_process_at_a_time_makes_copies(tmp_path: Path) -> None:
    first, second = (
        copies_of(lake(tmp_path / "lake")) if at == 0 else copies_of(Dataset.at(str(tmp_path / "lake")))
        for at in range(2)
    )
    with first.alone() as is_alone:
        assert is_alone
        assert not second.make(second.files(), say=lambda _: None)
    assert second.make(second.files(), say=lambda _: None)


def test_nothing_of_a_killed_process_is_taken_for_a_copy(tmp_path: Path) -> None:
    dataset = lake(tmp_path)
    script = f"""
import os, signal
import pipeline.lake.unpacked.array_file as array_file
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from pipeline.lake.appended_file import file_with
from pipeline.lake.dataset import Dataset
from pipeline.lake.unpacked.copies import Copies
dataset = Dataset.at({str(tmp_path)!r})
copies = Copies(dataset, dataset.existing())
copies.make(copies.files(), say=print)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == -9
    copies = copies_of(dataset)
    assert copies.folder is not None
    assert list(copies.folder.glob("*.*.new")) == []
    assert list((copies.folder / "tmp").glob("*.*"))
    assert len(made(copies)) == 6
    assert [path.name for path in (copies.folder / "tmp").iterdir()] == ["making.lock"]


def test_a_file_of_arrays_gives_them_back(tmp_path: Path) -> None:
    wide = np.arange(12, dtype=np.float32).reshape(3, 4)
    with written_arrays(tmp_path / "file", temporary=tmp_path / "tmp") as writer:
        writer.declare("wide", "float32", 3, 4)
        writer.add("none", np.empty((0, 7), np.int64))
        writer.fill("wide", wide[1:], at=1)
        writer.fill("wide", wide[:1])
        writer.close({"what": "a test"})
    about, arrays = open_arrays(tmp_path / "file")
    assert about == {"what": "a test"}
    assert (arrays["wide"] == wide).all()
    assert arrays["none"].shape == (0, 7)
    assert not (tmp_path / "tmp").exists()
    (tmp_path / "file").write_bytes(b"{}")
    with pytest.raises(BadArrayFile):
        open_arrays(tmp_path / "file")


def test_ids_are_those_of_the_rows(tmp_path: Path) -> None:
    rows = made(copies_of(lake(tmp_path, num_videos=1)))
    assert {owner for each in rows for owner in each.runs["video_id"].tolist()} == {id_of("video 0").encode()}
    assert rows[0].vectors.shape[1] == DIM


def test_a_new_copy_gets_its_final_name_once_the_disk_has_it_and_else_ends_with_the_machine(tmp_path: Path) -> None:
    dataset = lake(tmp_path, num_videos=1)
    copies = copies_of(dataset)
    made(copies)
    assert copies.folder is not None
    first, second = sorted(copies.folder.glob("*.new"))
    os.utime(first, (0, 0))
    second.rename(second.with_name(f"{second.name.partition('.')[0]}.an-earlier-start.new"))
    again = copies_of(dataset)
    assert sum(again.opened(file) is not None for file in again.files()) == 1
    made(again)
    assert [path.name.partition(".")[0] for path in copies.folder.glob("*.rows")] == [first.name.partition(".")[0]]
    assert [path.name for path in copies.folder.glob("*.new")] == [second.name]
