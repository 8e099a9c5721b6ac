"""A new table is one declaration: published under the lease, exactly once, shown by status, taken along by compact."""

import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from command import vidlake
from other_runs import KILLED_AT_FSYNC, forks
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.errors import UsageError
from pipeline.lake.compaction.compact import check_target, compact
from pipeline.lake.compaction.gather import RUNS
from pipeline.lake.dataset import Dataset
from pipeline.lake.derived import Derived
from pipeline.lake.files import ForeignFile
from pipeline.lake.ledger import Ledger
from pipeline.lake.planned import publish_plan
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.tables import SideTable, derive, read_status, side_tables
from pipeline.records.settled import Settled
from pipeline.records.shards import WHOLE
from pipeline.records.tables import Table, metadata_of

INFO = dataset_info()
NUM_VIDEOS, NUM_SEGMENTS = 12, 4

THUMBS = Table(
    name="thumbs",
    schema=pa.schema(
        [("video_id", pa.string()), ("epoch", pa.int32()), ("pts", pa.int64()), ("jpeg", pa.binary())],
        metadata=metadata_of({"longest_px": 64}),
    ),
    key=("video_id", "epoch", "pts"),
    growth="appended",
)
COUNTS = Table(
    name="counts",
    schema=pa.schema([("video_id", pa.string()), ("num_thumbs", pa.int64())]),
    key=("video_id",),
    growth="derived",
)
NAMES = tuple(f"v{number:02d}" for number in range(NUM_VIDEOS))
WORK = tuple(itertools.product(NAMES, range(NUM_SEGMENTS)))


def num_thumbs(name: str, segment: int) -> int:
    return (int(id_of(name)[:4], 16) + segment) % 4


def rows_of(work: Sequence[tuple[str, int]]) -> tuple[pa.Table, list[Settled]]:
    """The thumbnails of segments, and what they settle: one of them failed, some have none."""
    entries, rows = [], []
    for name, segment in sorted(work, key=lambda key: (id_of(key[0]), key[1])):
        if (name, segment) == WORK[0]:
            entries.append(Settled.failed(id_of(name), attempts=1, reason="corrupt", detail="why"))
            continue
        pts = [segment * 1000 + at for at in range(num_thumbs(name, segment))]
        rows += [{"video_id": id_of(name), "epoch": 0, "pts": at, "jpeg": f"{name}.{at}".encode() * 50} for at in pts]
        entries.append(Settled.complete(id_of(name), segment, attempts=1, num_samples=len(pts)))
    return pa.Table.from_pylist(rows, schema=THUMBS.schema), entries


EXPECTED = sorted(rows_of(WORK)[0].to_pylist(), key=lambda row: (row["video_id"], row["pts"]))


def fill(dataset: Dataset, token: str) -> None:
    """What a run does: what is not settled, a few segments a file, and the derived table at its end."""
    done = Ledger.of(dataset.appended(THUMBS.name).settled_parts())
    held = {(entry.video_id, entry.segment) for entry in done.entries(done.find(done.keys))}
    failed = (id_of(WORK[0][0]), None)
    left = [key for key in WORK if (id_of(key[0]), key[1]) not in held and not (key == WORK[0] and failed in held)]
    for at in range(0, len(left), 7):
        dataset.publish(THUMBS, *rows_of(left[at : at + 7]), token=token)
    count(dataset, token)


def count(dataset: Dataset, token: str) -> None:
    counts = Derived(dataset.files, COUNTS, is_alone=True, token=token)
    for name in NAMES:
        number = sum(num_thumbs(name, segment) for segment in range(NUM_SEGMENTS) if (name, segment) != WORK[0])
        counts.put(id_of(name), pa.table({"video_id": [id_of(name)], "num_thumbs": [number]}, schema=COUNTS.schema))
    counts.close()


def rows(dataset: Dataset, table: Table) -> list[dict[str, object]]:
    read = ds.dataset(Path(dataset.store.uri) / table.name, format="parquet").to_table()
    assert read.schema.equals(table.schema)
    sorted_: list[dict[str, object]] = read.sort_by([(name, "ascending") for name in table.key]).to_pylist()
    return sorted_


def new(folder: Path | str) -> tuple[Dataset, str]:
    dataset, token = new_dataset(folder)
    publish_plan(dataset, plan_table(*(planned(name, segments=NUM_SEGMENTS) for name in NAMES)), token=token)
    dataset.publish_features(pa.concat_tables([finished(name, at) for name, at in WORK]), INFO, token=token)
    derive(dataset, shard=WHOLE, token=token)
    return dataset, token


def take_over(folder: Path) -> str:
    """The token of another run, as if the one before had died."""
    (folder / "_vidlake/leases/1-of-1.json").unlink()
    return Dataset.at(str(folder)).backend.acquire(slot=WHOLE).token


IMPORTS = "import test_side_tables as t"
KILLED_WHILE_PUBLISHING = f"""
{KILLED_AT_FSYNC}
{IMPORTS}
t.fill(t.Dataset.at(sys.argv[1]), sys.argv[2])
"""


def test_killed_at_any_moment_every_row_is_there_once(tmp_path: Path) -> None:
    _, token = new(tmp_path)
    with forks(IMPORTS, folders=(str(Path(__file__).parent),)) as started:
        for moment in itertools.count(2, 5):
            killed, _ = started.run(KILLED_WHILE_PUBLISHING, tmp_path, token, moment)
            if not killed:
                break
            assert killed == -9
            token = take_over(tmp_path)
    assert moment > 2
    dataset = Dataset.at(str(tmp_path))
    assert rows(dataset, THUMBS) == EXPECTED
    assert sum(row["num_thumbs"] for row in rows(dataset, COUNTS)) == len(EXPECTED)  # type: ignore[misc]


def test_two_writers_of_the_same_segments_publish_one_file(tmp_path: Path) -> None:
    dataset, token = new(tmp_path)
    assert dataset.publish(THUMBS, *rows_of(WORK), token=token) > 0
    assert Dataset.at(str(tmp_path)).publish(THUMBS, *rows_of(WORK[::-1]), token=token) == 0
    assert len(list((tmp_path / "thumbs").iterdir())) == 1
    assert rows(dataset, THUMBS) == EXPECTED


def test_run_that_was_taken_over_publishes_nothing(tmp_path: Path) -> None:
    dataset, stale = new(tmp_path)
    dataset.publish(THUMBS, *rows_of(WORK[:5]), token=stale)
    token = take_over(tmp_path)
    with pytest.raises(LeaseLost):
        dataset.publish(THUMBS, *rows_of(WORK[5:]), token=stale)
    with pytest.raises(LeaseLost):
        count(dataset, stale)
    fill(dataset, token)
    assert rows(dataset, THUMBS) == EXPECTED


def test_two_writers_of_a_derived_file_leave_what_was_read_last(tmp_path: Path) -> None:
    dataset, token = new(tmp_path)
    early, late = (Derived(dataset.files, COUNTS, is_alone=False, token=token) for _ in range(2))
    late.put("part", pa.table({"video_id": ["a"], "num_thumbs": [2]}, schema=COUNTS.schema))
    early.put("part", pa.table({"video_id": ["a"], "num_thumbs": [1]}, schema=COUNTS.schema))
    assert (early.is_current, late.is_current) == (False, True)
    assert rows(dataset, COUNTS) == [{"video_id": "a", "num_thumbs": 2}]


def test_status_shows_both_kinds(tmp_path: Path) -> None:
    dataset, token = new(tmp_path)
    assert side_tables(dataset) == {}
    fill(dataset, token)
    tables = read_status(str(tmp_path)).side_tables
    assert tables == {
        "thumbs": SideTable(num_rows=len(EXPECTED), num_files=7, num_settled=len(WORK)),
        "counts": SideTable(num_rows=NUM_VIDEOS, num_files=NUM_VIDEOS, num_settled=None),
    }
    done = vidlake("status", tmp_path, "--json")
    assert json.loads(done.stdout)["side_tables"]["thumbs"]["num_rows"] == len(EXPECTED)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({}, id="in one file"),
        pytest.param({"file_bytes": 2_000, "memory_bytes": 4_000}, id="in many files, from sorted runs"),
    ],
)
def test_compact_takes_both_kinds_along(tmp_path: Path, sizes: dict[str, int]) -> None:
    source, token = new(tmp_path / "old")
    fill(source, token)
    target = compacted(source, tmp_path / "new", **sizes)
    assert rows(target, THUMBS) == EXPECTED
    assert rows(target, COUNTS) == rows(source, COUNTS)
    assert settled(target) == settled(source)
    after = side_tables(target)
    assert after["thumbs"].num_rows == len(EXPECTED)
    assert sizes or after["thumbs"].num_files == 1
    assert list((tmp_path / "new" / RUNS).glob("*")) == []


def test_compact_run_again_adds_what_came_since(tmp_path: Path) -> None:
    source, token = new(tmp_path / "old")
    source.publish(THUMBS, *rows_of(WORK[:20]), token=token)
    target = compacted(source, tmp_path / "new")
    fill(source, token)
    compact(source, target, token=token_of(target))
    assert rows(target, THUMBS) == EXPECTED
    assert settled(target) == settled(source)
    names = list((tmp_path / "new/thumbs").iterdir())
    compact(source, target, token=token_of(target))
    assert list((tmp_path / "new/thumbs").iterdir()) == names


def test_compacted_dataset_goes_on_like_the_old_one(tmp_path: Path) -> None:
    source, token = new(tmp_path / "old")
    source.publish(THUMBS, *rows_of(WORK[:20]), token=token)
    target = compacted(source, tmp_path / "new")
    fill(target, token_of(target))
    assert rows(target, THUMBS) == EXPECTED


def test_table_made_in_another_way_is_refused(tmp_path: Path) -> None:
    dataset, token = new(tmp_path)
    dataset.publish(THUMBS, *rows_of(WORK[:5]), token=token)
    larger = Table(
        name=THUMBS.name,
        schema=THUMBS.schema.with_metadata(metadata_of({"longest_px": 128})),
        key=THUMBS.key,
        growth="appended",
    )
    with pytest.raises(UsageError, match=r"thumbs was made with other settings \(made_by\): give another --out"):
        dataset.publish(larger, *rows_of(WORK[5:]), token=token)
    assert len(list((tmp_path / "thumbs").iterdir())) == 1


def test_rows_and_entries_must_agree(tmp_path: Path) -> None:
    dataset, token = new(tmp_path)
    thumbs, entries = rows_of(WORK)
    with pytest.raises(ValueError, match="rows of thumbs for entries that settle"):
        dataset.publish(THUMBS, thumbs.slice(1), entries, token=token)
    with pytest.raises(ValueError, match="counts is derived"):
        dataset.publish(COUNTS, thumbs, entries, token=token)
    with pytest.raises(ValueError, match="thumbs is appended to"):
        Derived(dataset.files, THUMBS, is_alone=True, token=token)
    with pytest.raises(ValueError, match="rows of counts have other columns"):
        Derived(dataset.files, COUNTS, is_alone=True, token=token).put("x", thumbs)


@pytest.mark.parametrize(
    ("name", "key", "growth", "message"),
    [
        pytest.param("../x", ("video_id",), "derived", "cannot be called", id="a path"),
        pytest.param("", ("video_id",), "derived", "cannot be called", id="no name"),
        pytest.param("x", ("other",), "derived", "must be columns of it: other", id="a key that is no column"),
        pytest.param("x", (), "derived", "must be columns of it: there is none", id="no key"),
        pytest.param("x", ("pts",), "appended", "needs a column video_id", id="rows of no video"),
    ],
)
def test_table_that_could_not_be_kept_is_refused(name: str, key: tuple[str, ...], growth: str, message: str) -> None:
    schema = pa.schema([("pts", pa.int64()), *([("video_id", pa.string())] if growth == "derived" else [])])
    with pytest.raises(ValueError, match=message):
        Table(name=name, schema=schema, key=key, growth=growth)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"name": "../../home", "key": ["x"], "growth": "derived", "made_by": {}},
        {"name": "features", "key": ["x"], "growth": "derived", "made_by": {}},
        {"name": "thumbs", "key": ["x"], "growth": "grown", "made_by": {}},
        {"name": "thumbs", "key": "x", "growth": "derived", "made_by": {}},
        {"name": "thumbs", "key": ["x"], "growth": "derived", "made_by": []},
    ],
)
def test_declaration_that_somebody_else_wrote_is_data(tmp_path: Path, document: object) -> None:
    dataset, _ = new(tmp_path)
    (tmp_path / "_vidlake/tables").mkdir()
    (tmp_path / "_vidlake/tables/thumbs.json").write_text(json.dumps(document))
    with pytest.raises(ForeignFile, match=r"thumbs\.json is damaged"):
        side_tables(dataset)


def test_side_tables_live_in_any_store(place: str) -> None:
    dataset, token = new(place)
    dataset.publish(THUMBS, *rows_of(WORK[:30]), token=token)
    fill_again = Ledger.of(dataset.appended(THUMBS.name).settled_parts())
    assert len(fill_again.keys) == 30
    dataset.publish(THUMBS, *rows_of(WORK[30:]), token=token)
    count(dataset, token)
    target = compacted(dataset, f"{place}-new")
    assert settled(target) == settled(dataset)
    assert side_tables(target)["thumbs"].num_rows == len(EXPECTED)
    assert side_tables(target)["counts"] == side_tables(dataset)["counts"]


def compacted(source: Dataset, folder: Path | str, **sizes: Any) -> Dataset:
    target = Dataset.at(os.fspath(folder))
    check_target(source, target)
    target.store.ensure_writable()
    compact(source, target, token=target.backend.acquire(slot=WHOLE).token, **sizes)
    return target


def token_of(dataset: Dataset) -> str:
    token: str = json.loads((Path(dataset.store.uri) / "_vidlake/leases/1-of-1.json").read_text())["token"]
    return token


def settled(dataset: Dataset) -> list[Settled]:
    ledger = Ledger.of(dataset.appended(THUMBS.name).settled_parts())
    return ledger.entries(ledger.find(ledger.keys))
