"""A dataset that an earlier version wrote is read, resumed and compacted as if it had been written today."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.errors import RunError
from pipeline.lake.compaction.compact import compact
from pipeline.lake.dataset import CONFIG, Dataset
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import failed_plans, pending_tasks, unsettled_failures
from pipeline.lake.planned import Planned, publish_plan
from pipeline.lake.tables import derive, totals
from pipeline.records.schemas import PLAN
from pipeline.records.shards import WHOLE

INFO = dataset_info()
OLD_SEGMENT_NAME = {"missing_start_s": "missing_from_s"}


def old_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of a footer in the words of version 0.1.0."""
    return {
        "video_id": entry["video_id"],
        "segment": entry["segment"],
        "attempt": entry["attempts"],
        "outcome": entry["reason"] or "ok",
        "detail": entry["detail"],
        "start_s": entry["missing_start_s"],
        "end_s": entry["missing_end_s"],
        "num_samples": entry["num_samples"],
        "num_corrupt": entry["num_corrupt"],
    }


def make_old(folder: Path) -> None:
    """Rewrite what lies in a dataset as version 0.1.0 had it."""
    for path in (folder / "features").iterdir():
        table = pq.read_table(path)
        entries = json.loads(pq.read_metadata(path).metadata[b"vidlake.settled"])
        with pq.ParquetWriter(path, table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({b"vidlake.settled": json.dumps([old_entry(entry) for entry in entries])})
    for path in (folder / "_vidlake/plan").iterdir():
        pq.write_table(old_plan(pq.read_table(path)), path)


def old_plan(part: pa.Table) -> pa.Table:
    segments = part["segments"].type.value_type
    fields = [segments.field(at) for at in range(segments.num_fields)]
    old = pa.struct([pa.field(OLD_SEGMENT_NAME.get(field.name, field.name), field.type) for field in fields])
    chunks = [chunk.view(pa.list_(old)) for chunk in part["segments"].chunks]
    at = part.schema.get_field_index("segments")
    return part.set_column(at, "segments", pa.chunked_array(chunks)).rename_columns(
        ["attempt" if name == "attempts" else name for name in part.column_names]
    )


def written(folder: Path) -> tuple[Dataset, str]:
    """Two videos of which segments ended in every way, and one that could not be planned."""
    dataset, token = new_dataset(folder)
    rows = [planned("a", segments=4), planned("b", segments=2), planned("c", reason="not_video")]
    publish_plan(dataset, plan_table(*(row | {"camera": "north"} for row in rows)), token=token)
    segments = [
        finished("a", 0),
        finished("a", 1, num_samples=0),
        finished("a", 2, reason="crashed", num_samples=0, attempts=2),
        finished("b", 0, reason="truncated", num_corrupt=1),
    ]
    dataset.publish_features(pa.concat_tables(segments), INFO, token=token)
    for entries in unsettled_failures(Planned(dataset), Ledger.of(dataset.settled_parts())):
        dataset.settle(entries, INFO, token=token)
    derive(dataset, shard=WHOLE, token=token)
    return dataset, token


@pytest.fixture
def today(tmp_path: Path) -> Dataset:
    return written(tmp_path / "today")[0]


@pytest.fixture
def old(tmp_path: Path) -> tuple[Dataset, str]:
    dataset, token = written(tmp_path / "old")
    make_old(tmp_path / "old")
    return dataset, token


def rows(dataset: Dataset, folder: str) -> list[dict[str, Any]]:
    table = ds.dataset(Path(dataset.store.uri) / folder).to_table()
    return sorted(table.to_pylist(), key=lambda row: (row["video_id"], row.get("segment") or -1, row.get("pts", 0)))


def settled(dataset: Dataset) -> list[Any]:
    ledger = Ledger.of(dataset.settled_parts())
    return ledger.entries(np.arange(len(ledger.keys)))


def left_to_do(dataset: Dataset, *, is_retry: bool) -> pa.Table:
    return pa.concat_tables(
        pending_tasks(Planned(dataset), Ledger.of(dataset.settled_parts()), is_retry=is_retry)
    ).combine_chunks()


def test_footers_and_plan_say_the_same_in_old_words(old: tuple[Dataset, str], today: Dataset) -> None:
    dataset, _ = old
    assert settled(dataset) == settled(today)
    assert Planned(dataset).schema == Planned(today).schema
    assert [part.to_pylist() for _, part in Planned(dataset).parts()] == [
        part.to_pylist() for _, part in Planned(today).parts()
    ]
    assert totals(dataset) == totals(today)


def test_the_derived_tables_are_the_same(old: tuple[Dataset, str], today: Dataset) -> None:
    dataset, token = old
    derive(dataset, shard=WHOLE, token=token)
    for folder in ("videos", "quarantine"):
        assert rows(dataset, folder) == rows(today, folder)
    lost = {
        (row["segment"], row["reason"], row["start_s"], row["end_s"], row["attempts"])
        for row in rows(dataset, "quarantine")
    }
    assert lost == {(2, "crashed", 27.0, 36.0, 2), (0, "truncated", 3.0, 12.0, 1), (None, "not_video", None, None, 1)}


@pytest.mark.parametrize("is_retry", [False, True])
def test_resume_and_retry_have_as_much_to_do(old: tuple[Dataset, str], today: Dataset, is_retry: bool) -> None:
    dataset, _ = old
    assert left_to_do(dataset, is_retry=is_retry).equals(left_to_do(today, is_retry=is_retry))
    failed = [pa.concat_tables(failed_plans(Planned(each))).to_pylist() for each in (dataset, today)]
    assert failed[0] == failed[1]


def test_what_is_resumed_stands_beside_what_was_there(old: tuple[Dataset, str]) -> None:
    dataset, token = old
    publish_plan(dataset, plan_table(planned("later")), token=token)
    later = [finished("a", 2, attempts=3), finished("a", 3), finished("b", 1), finished("later")]
    dataset.publish_features(pa.concat_tables(later), INFO, token=token)
    derive(dataset, shard=WHOLE, token=token)
    statuses = {row["video_id"]: row["status"] for row in rows(dataset, "videos")}
    assert statuses == {id_of("a"): "ok", id_of("b"): "partial", id_of("c"): "failed", id_of("later"): "ok"}
    assert {row["camera"] for row in rows(dataset, "videos")} == {"north", None}


def test_compacted_it_is_as_todays(old: tuple[Dataset, str], today: Dataset, tmp_path: Path) -> None:
    target = Dataset.at(str(tmp_path / "new"))
    target.store.ensure_writable()
    compact(old[0], target, token=target.backend.acquire(slot=WHOLE).token)
    assert settled(target) == settled(today)
    assert rows(target, "features") == rows(today, "features")
    assert totals(target) == totals(today)
    [path] = (tmp_path / "new/features").iterdir()
    entries = json.loads(pq.read_metadata(path).metadata[b"vidlake.settled"])
    assert {"reason", "attempts", "missing_start_s", "missing_end_s"} < set(entries[0])


def test_a_manifests_own_column_attempts_is_kept_under_another_name(tmp_path: Path) -> None:
    dataset, _ = new_dataset(tmp_path)
    part = old_plan(plan_table(planned("a", attempts=2))).append_column("attempts", pa.array(["three"]))
    (tmp_path / "_vidlake/plan").mkdir()
    pq.write_table(part, tmp_path / "_vidlake/plan/old.parquet")
    [(_, part)] = Planned(dataset).parts()
    assert part["attempts"].to_pylist() == [2]
    assert part["attempts_of_manifest"].to_pylist() == ["three"]
    assert part.select(PLAN.names).schema == PLAN


@pytest.mark.parametrize("entry", [{"outcome": "ok"}, {"outcome": "ok", "attempt": "x"}, "outcome", 7])
def test_damaged_old_entry_is_told_in_one_line(old: tuple[Dataset, str], entry: object) -> None:
    dataset, _ = old
    path = next((Path(dataset.store.uri) / "features").iterdir())
    table = pq.read_table(path)
    with pq.ParquetWriter(path, table.schema) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({b"vidlake.settled": json.dumps([entry])})
    with pytest.raises(RunError, match="its list of segments is damaged"):
        dataset.settled()


def test_a_dataset_that_says_nothing_of_captured_at_keeps_its_columns(tmp_path: Path) -> None:
    """Rows that a batch run adds have the columns of those that are there."""
    dataset, token = new_dataset(tmp_path)
    document = dict(json.loads(dataset.store.read(CONFIG)))
    del document["captured_at"]
    dataset.store.publish(CONFIG, json.dumps(document).encode(), overwrite=True)

    info = dataset.create(dataset_info())
    dataset.publish_features(finished("a"), info, token=token)

    assert "captured_at" not in pq.read_table(tmp_path / "features").schema.names
    assert Dataset.at(str(tmp_path)).create(dataset_info()) == info
