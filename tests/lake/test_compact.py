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
import lakes
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from other_runs import KILLED_AT_FSYNC, forks
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.errors import UsageError
from pipeline.lake.catalogue import Catalogue
from pipeline.lake.compaction.compact import Compacted, check_target, compact
from pipeline.lake.compaction.gather import RUNS, Layout
from pipeline.lake.compaction.rewrite import cut
from pipeline.lake.dataset import Dataset
from pipeline.lake.files import ForeignFile
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import pending_tasks, unsettled_failures
from pipeline.lake.planned import Planned, publish_listed, publish_plan
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.tables import derive, totals
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.model_info import FeatureType
from pipeline.records.settled import Settled
from pipeline.records.shards import WHOLE

KEY = ["video_id", "epoch", "segment", "pts"]
NUM_VIDEOS, NUM_SEGMENTS = 40, 3


def old_dataset(folder: Path | str, *, dtype: FeatureType = "float32", num_samples: int = 60) -> tuple[Dataset, str]:
    """Videos whose segments are spread over many small files, with every way to end; two segments are left to do."""
    dataset, token = new_dataset(folder, dtype=dtype)
    names = [f"v{number}" for number in range(NUM_VIDEOS)]
    publish_plan(
        dataset, plan_table(*(planned(name, segments=NUM_SEGMENTS, camera="north") for name in names)), token=token
    )
    publish_plan(dataset, plan_table(planned("absent", reason="unreadable")), token=token)
    for entries in unsettled_failures(Planned(dataset), Ledger.of(dataset.settled_parts())):
        dataset.settle(entries, dataset_info(dtype=dtype), token=token)
    commit(dataset, token, *(segments_of(names, num_samples=num_samples)), dtype=dtype)
    commit(dataset, token, finished("v1", 2, num_samples=5, attempts=2), dtype=dtype)
    publish_listed(
        dataset, Ids([id_bytes(pa.chunked_array([[id_of(name) for name in names]]))]), shard=WHOLE, token=token
    )
    derive(dataset, shard=WHOLE, token=token)
    return dataset, token


def segments_of(names: list[str], *, num_samples: int) -> list[pa.Table]:
    rng = random.Random(0)
    ends: dict[tuple[str, int], Callable[[], pa.Table]] = {
        ("v1", 2): lambda: finished("v1", 2, num_samples=0, reason="crashed"),
        ("v2", 0): lambda: finished("v2", 0, num_samples=0, reason="timeout"),
        ("v3", 1): lambda: finished("v3", 1, num_samples=0),
        ("v4", 1): lambda: finished("v4", 1, num_samples=7, reason="corrupt", num_corrupt=2),
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


def empty(folder: Path | str) -> tuple[Dataset, str]:
    dataset = Dataset.at(str(folder))
    dataset.store.ensure_writable()
    return dataset, dataset.backend.acquire(slot=WHOLE).token


def compacted(source: Dataset, folder: Path | str, **sizes: Any) -> tuple[Dataset, Compacted]:
    check_target(source, Dataset.at(str(folder)))
    dataset, token = empty(folder)
    return dataset, compact(source, dataset, token=token, **sizes)


def rows(dataset: Dataset) -> pa.Table:
    return ds.dataset(Path(dataset.store.uri) / "features").to_table().sort_by([(name, "ascending") for name in KEY])


def derived(dataset: Dataset, folder: str) -> pa.Table:
    return ds.dataset(f"{dataset.store.uri}/{folder}").to_table()


def files(dataset: Dataset) -> list[Path]:
    return sorted((Path(dataset.store.uri) / "features").iterdir())


def settled(dataset: Dataset) -> list[Settled]:
    """How each segment ended at last."""
    ledger = Ledger.of(dataset.settled_parts())
    return ledger.entries(np.arange(len(ledger.keys)))


def bits(table: pa.Table) -> bytes:
    values: bytes = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False).tobytes()
    return values


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
@pytest.mark.quick_one_in(3)
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


def test_files_are_large_sorted_and_do_not_overlap(old: Dataset, tmp_path: Path) -> None:
    target, done = compacted(old, tmp_path / "new", file_bytes=60_000)
    paths = files(target)
    sizes = [path.stat().st_size for path in paths]
    assert len(files(old)) == done.num_files_before > 3 * len(paths)
    assert done.num_files == len(paths)
    assert done.num_bytes == sum(sizes)
    assert min(sizes) > 2 / 3 * 60_000
    tables = [pq.read_table(path) for path in paths]
    for table in tables:
        assert table.equals(table.sort_by([(name, "ascending") for name in KEY]))
    spans = sorted((table["video_id"][0].as_py(), table["video_id"][-1].as_py()) for table in tables)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    segments = [{(row["video_id"], row["segment"]) for row in table.to_pylist()} for table in tables]
    assert sum(map(len, segments)) == len(set.union(*segments)), "the rows of a segment are spread over two files"


def test_layout_and_metadata_are_those_of_a_features_file(old: Dataset, tmp_path: Path) -> None:
    document = {**old.document(), "versions": {"av": "of the machine that decoded"}}
    (Path(old.store.uri) / "_vidlake/config.json").write_text(json.dumps(document))
    target, _ = compacted(old, tmp_path / "new")
    [path] = files(target)
    metadata = pq.read_metadata(path)
    groups = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert set(groups[:-1]) == {1024}
    columns = [metadata.row_group(0).column(at) for at in range(metadata.num_columns)]
    [column] = [each for each in columns if each.path_in_schema == "feature.list.element"]
    assert ("BYTE_STREAM_SPLIT" in column.encodings, column.compression) == (True, "ZSTD")
    assert json.loads(pq.read_schema(path).metadata[b"vidlake"]) == target.document() == document


def test_every_reader_sees_the_same(old: Dataset, tmp_path: Path) -> None:
    import polars as pl

    target, done = compacted(old, tmp_path / "new", file_bytes=60_000)
    glob = f"{target.store.uri}/features/*.parquet"
    query = "select count(*), count(distinct (video_id, epoch, segment, pts)), sum(feature[1]) from '{}'"
    [told] = duckdb.connect().execute(query.format(glob)).fetchall()
    [before] = duckdb.connect().execute(query.format(f"{old.store.uri}/features/*.parquet")).fetchall()
    assert told[:2] == before[:2] == (done.num_samples, done.num_samples)
    assert told[2] == pytest.approx(before[2])
    assert pl.read_parquet(glob).height == done.num_samples


def test_status_is_that_of_the_old_and_resuming_has_as_much_to_do(old: Dataset, tmp_path: Path) -> None:
    target, done = compacted(old, tmp_path / "new", file_bytes=60_000)
    assert totals(target) == totals(old) == done.totals
    for folder in ("videos", "quarantine"):
        one, other = (
            ds.dataset(Path(dataset.store.uri) / folder).to_table().sort_by("video_id") for dataset in (old, target)
        )
        assert one.equals(other)
    assert (
        len(ds.dataset(Path(target.store.uri) / "videos").to_table().filter(pa.compute.field("camera") == "north"))
        == NUM_VIDEOS
    )
    for is_retry, num_left in ((False, 2), (True, 3)):
        todo = [
            pa.concat_tables(pending_tasks(Planned(each), Ledger.of(each.settled_parts()), is_retry=is_retry))
            for each in (old, target)
        ]
        assert todo[0].equals(todo[1])
        assert len(todo[0]) == num_left


def test_run_again_it_adds_what_came_since_and_else_nothing(tmp_path: Path) -> None:
    source, source_token = old_dataset(tmp_path / "old")
    target, _ = compacted(source, tmp_path / "new", file_bytes=60_000)
    before = files(target)
    again = compact(source, target, token=_token(target), file_bytes=60_000)
    assert (files(target), again.num_files, again.num_bytes) == (before, 0, 0)
    commit(source, source_token, finished("v5", 2, num_samples=9), finished("v2", 0, num_samples=4, attempts=2))
    publish_plan(source, plan_table(planned("later")), token=source_token)
    commit(source, source_token, finished("later", 0))
    more = compact(source, target, token=_token(target), file_bytes=60_000)
    assert (more.num_files, more.num_samples) == (1, 9 + 4 + 2)
    assert rows(source).equals(rows(target))
    assert settled(source) == settled(target)
    assert totals(source) == totals(target)


def _token(dataset: Dataset) -> str:
    token: str = json.loads((Path(dataset.store.uri) / "_vidlake/leases/1-of-1.json").read_text())["token"]
    return token


IMPORTS = """
from pathlib import Path
from test_compact import compacted
from pipeline.lake.dataset import Dataset
"""
KILLED_WHILE_PUBLISHING = f"""
{KILLED_AT_FSYNC}
{IMPORTS}
compacted(Dataset.at(sys.argv[1]), Path(sys.argv[2]), file_bytes=60_000, memory_bytes=100_000)
"""


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_ends_the_same(old: Dataset, tmp_path: Path) -> None:
    calm, _ = compacted(old, tmp_path / "calm", file_bytes=60_000, memory_bytes=100_000)
    with forks(IMPORTS, folders=(str(Path(__file__).parent),)) as started:
        for moment in itertools.count(1, 9):
            folder = tmp_path / f"killed-{moment}"
            killed, _ = started.run(KILLED_WHILE_PUBLISHING, old.store.uri, folder, moment)
            if not killed:
                break
            assert killed == -9
            if (folder / "_vidlake/config.json").exists():
                assert totals(Dataset.at(str(folder))).num_samples <= totals(old).num_samples
            target, _ = compacted(old, folder, file_bytes=60_000, memory_bytes=100_000)
            assert [path.read_bytes() for path in files(target)] == [path.read_bytes() for path in files(calm)]
            assert settled(target) == settled(old)
            assert list((folder / RUNS).glob("*")) == []
    assert moment > 60


@pytest.mark.slow
def test_any_store_is_compacted_to_any_other(place: str, tmp_path: Path) -> None:
    source, _ = old_dataset(f"{place}-old")
    sizes = {"file_bytes": 60_000, "memory_bytes": 200_000}
    there, done = compacted(source, f"{place}-new", **sizes)
    here, _ = compacted(source, tmp_path / "here", **sizes)
    assert done.num_files == len(there.store.list("features")) == 3
    assert there.store.list(RUNS) == []
    assert settled(source) == settled(there) == settled(here)
    assert totals(source) == totals(there) == totals(here)
    assert sorted(map(there.store.read, there.store.list("features"))) == sorted(
        here.store.read(name) for name in here.store.list("features")
    )
    back, _ = compacted(there, tmp_path / "back", **sizes)
    assert rows(back).equals(rows(here))


def test_compaction_that_was_taken_over_publishes_nothing_more(old: Dataset, tmp_path: Path) -> None:
    target, stale = empty(tmp_path / "new")
    (Path(target.store.uri) / "_vidlake/leases/1-of-1.json").unlink()
    target.backend.acquire(slot=WHOLE)
    with pytest.raises(LeaseLost):
        compact(old, target, token=stale)
    assert not (tmp_path / "new/features").exists()


def test_dataset_that_went_its_own_way_is_refused(old: Dataset, tmp_path: Path) -> None:
    target, _ = compacted(old, tmp_path / "new")
    commit(target, _token(target), finished("v5", 2, num_samples=9))
    before = files(target)
    with pytest.raises(UsageError, match=r"holds more than .*give another --out"):
        compact(old, target, token=_token(target))
    publish_plan(target, plan_table(planned("other")), token=_token(target))
    with pytest.raises(UsageError, match=r"holds more than .*give another --out"):
        check_target(old, target)
    assert files(target) == before


def test_folder_of_something_else_is_refused(old: Dataset, tmp_path: Path) -> None:
    other, _ = new_dataset(tmp_path / "other", dtype="float16")
    with pytest.raises(UsageError, match="--dtype is float16, not float32"):
        check_target(old, other)
    (tmp_path / "taken/videos").mkdir(parents=True)
    (tmp_path / "taken/videos/a.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match="holds other files in videos/: give another --out"):
        check_target(old, Dataset.at(str(tmp_path / "taken")))
    for name in ("old", "old/inside", ""):
        with pytest.raises(UsageError, match="lie within each other"):
            check_target(old, Dataset.at(str(tmp_path / name)))
    with pytest.raises(UsageError, match="no dataset at"):
        check_target(Dataset.at(str(tmp_path / "none")), Dataset.at(str(tmp_path / "new")))


def test_dataset_without_a_row_is_compacted_too(tmp_path: Path) -> None:
    source, _ = new_dataset(tmp_path / "old")
    target, done = compacted(source, tmp_path / "new")
    assert (done.num_files, totals(target)) == (0, totals(source))


def test_rows_that_the_footers_do_not_list_are_not_copied(old: Dataset, tmp_path: Path) -> None:
    first, second = files(old)[:2]
    table, footer = pq.read_table(first), pq.read_metadata(first).metadata[b"vidlake.settled"]
    other = pq.read_table(second).slice(0, 1)
    with pq.ParquetWriter(first, table.schema) as writer:
        writer.write_table(pa.concat_tables([table.slice(1), other]))
        writer.add_key_value_metadata({b"vidlake.settled": footer})
    with pytest.raises(ForeignFile, match="rows are not those that the footers list"):
        compacted(old, tmp_path / "new")
    with pq.ParquetWriter(first, table.schema) as writer:
        writer.write_table(table.slice(1))
        writer.add_key_value_metadata({b"vidlake.settled": footer})
    with pytest.raises(ForeignFile, match=f"{first.name} is damaged: its footer lists other rows"):
        compacted(old, tmp_path / "newer")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([1.0], [1], id="less than a file"),
        pytest.param([100.0] * 14, [14], id="one file rather than two small ones"),
        pytest.param([100.0] * 16, [8, 8], id="files of equal size"),
        pytest.param([1e9, 1.0, 1.0], [1, 2], id="a segment larger than a file"),
    ],
)
def test_segments_are_cut_into_files_of_about_equal_size(sizes: list[float], expected: list[int]) -> None:
    numbers = cut(np.array(sizes, np.float64), file_bytes=1000)
    assert np.bincount(numbers).tolist() == expected


def test_reading_again_and_again_is_noticed(old: Dataset) -> None:
    catalogue = Catalogue.of(old.features)
    places = np.arange(len(catalogue))
    assert not Layout(catalogue, places, np.zeros(len(places), np.int64)).is_scattered()
    assert Layout(catalogue, places, places).is_scattered()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_dataset(tmp_path: Path) -> None:
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[3]); import test_compact as t; from pathlib import Path\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "t.compacted(t.Dataset.at(sys.argv[1]), Path(sys.argv[2]), file_bytes=4 << 20, memory_bytes=4 << 20)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)"
    )
    grown = []
    for times in (1, 6):
        folder = tmp_path / str(times)
        source, _ = old_dataset(folder / "old", num_samples=1_000 * times)
        words = [sys.executable, "-c", code, source.store.uri, str(folder / "new"), str(Path(__file__).parents[1])]
        grown.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    assert grown[1] < grown[0] + (64 << 20), grown


def vidlake(*words: object, exit_status: int = 0) -> str:
    return lakes.vidlake(*words, status=exit_status).stdout


def test_command_refuses_in_one_line_and_touches_nothing(old: Dataset, tmp_path: Path) -> None:
    vidlake("compact", tmp_path / "none", "--out", tmp_path / "new", exit_status=2)
    vidlake("compact", old.store.uri, "--out", tmp_path / "new", "--file-size", "large", exit_status=2)
    vidlake("compact", old.store.uri, "--out", old.store.uri, exit_status=2)
    assert not (tmp_path / "new").exists()
    said = vidlake("compact", old.store.uri, "--out", tmp_path / "new")
    assert "samples of 19 files written to 1" in said
