"""The tables that follow from plan and footers: what became of each video, what is missing, what is left to do."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned, segment

from pipeline.lake.dataset import Dataset
from pipeline.lake.derived import Derived
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import failed_plans, pending_tasks, unsettled_failures
from pipeline.lake.planned import Planned, publish_listed, publish_plan
from pipeline.lake.tables import derive, totals
from pipeline.records.ids import Ids
from pipeline.records.schemas import TASKS
from pipeline.records.shards import WHOLE, Shard
from pipeline.records.tables import QUARANTINE, VIDEOS

INFO = dataset_info()


class Archive:
    """A dataset that is filled step by step."""

    def __init__(self, folder: Path, *, shard: Shard = WHOLE) -> None:
        self.shard = shard
        self.dataset, self.token = new_dataset(folder, shard=shard)

    def plan(self, *rows: dict[str, Any]) -> None:
        publish_plan(self.dataset, plan_table(*rows), token=self.token)

    def commit(self, *segments: pa.Table) -> None:
        self.dataset.publish_features(pa.concat_tables(segments), INFO, token=self.token)

    def has_now(self, *names: str) -> None:
        listed = Ids()
        for name in names:
            listed.add(id_of(name))
        publish_listed(self.dataset, listed, shard=self.shard, token=self.token)

    def settle_failed(self) -> int:
        entries = [entry for part in unsettled_failures(*self.known()) for entry in part]
        self.dataset.settle(entries, INFO, token=self.token)
        return len(entries)

    def known(self) -> tuple[Planned, Ledger]:
        return Planned(self.dataset), Ledger.of(self.dataset.settled_parts())

    def rows(self, folder: str) -> list[dict[str, Any]]:
        derive(self.dataset, shard=self.shard, token=self.token)
        rows: list[dict[str, Any]] = ds.dataset(Path(self.dataset.store.uri) / folder).to_table().to_pylist()
        return sorted(rows, key=lambda row: (row["uri"], row.get("segment") or -1))

    def video(self, name: str = "a") -> dict[str, Any]:
        [row] = [row for row in self.rows("videos") if row["video_id"] == id_of(name)]
        return row

    def tasks(self, *, chosen: Iterable[str] | None = None, is_retry: bool = False) -> list[tuple[str, int, int]]:
        ids = None
        if chosen is not None:
            ids = Ids()
            for name in chosen:
                ids.add(id_of(name))
        parts = pending_tasks(*self.known(), chosen=ids, is_retry=is_retry)
        rows = [row for part in parts for row in part.to_pylist()]
        return sorted((Path(row["uri"]).stem, row["segment"]["index"], row["attempts"]) for row in rows)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.mark.parametrize(
    ("num_segments", "segments", "status", "num_samples"),
    [
        pytest.param(2, [finished("a", 0), finished("a", 1)], "ok", 4, id="all-there"),
        pytest.param(0, [], "ok", 0, id="no-sample-wanted"),
        pytest.param(1, [finished("a", num_samples=0)], "ok", 0, id="no-sample-found"),
        pytest.param(2, [finished("a", 0)], "unfinished", 2, id="a-segment-to-do"),
        pytest.param(1, [finished("a", num_corrupt=1)], "partial", 2, id="a-corrupt-row"),
        pytest.param(1, [finished("a", reason="corrupt")], "partial", 2, id="corrupt-with-rows"),
        pytest.param(1, [finished("a", reason="corrupt", num_samples=0)], "failed", 0, id="corrupt-without-rows"),
        pytest.param(1, [finished("a", reason="truncated")], "partial", 2, id="truncated"),
        pytest.param(
            2,
            [finished("a", 0), finished("a", 1, reason="timeout", num_samples=0)],
            "partial",
            2,
            id="one-of-two-lost",
        ),
        pytest.param(1, [finished("a", reason="crashed", num_samples=0)], "failed", 0, id="the-only-one-lost"),
        pytest.param(
            1,
            [finished("a", reason="crashed", num_samples=0), finished("a", attempts=2)],
            "ok",
            2,
            id="second-attempt-worked",
        ),
    ],
)
def test_a_videos_status_follows_from_its_segments(
    archive: Archive, num_segments: int, segments: list[pa.Table], status: str, num_samples: int
) -> None:
    archive.plan(planned("a", segments=num_segments))
    for finished_segment in segments:
        archive.commit(finished_segment)
    video = archive.video()
    assert (video["status"], video["num_samples"], video["num_segments"]) == (status, num_samples, num_segments)


def test_videos_have_the_columns_of_the_design(archive: Archive) -> None:
    archive.plan(planned("a", range_start="7/2"))
    archive.commit(finished("a"))
    video = archive.video()
    assert list(video) == VIDEOS.schema.names
    assert video["mtime"].isoformat() == "2023-11-14T22:13:20.123456+00:00"
    assert video["fps"] == pytest.approx(29.97, abs=0.001)
    assert (video["start_s"], video["end_s"], video["codec"], video["duration_s"]) == (3.5, None, "h264", 36.0)


def test_quarantine_tells_what_is_missing_and_where(archive: Archive) -> None:
    archive.plan(planned("a", segments=3), planned("b", reason="not_video"))
    archive.commit(finished("a", 0), finished("a", 1, reason="truncated"))
    archive.commit(finished("a", 2, reason="timeout", num_samples=0, attempts=3))
    lost = [tuple(row[name] for name in QUARANTINE.schema.names[1:]) for row in archive.rows("quarantine")]
    assert lost == [
        ("/videos/a.mp4", 1, 15.0, 24.0, "truncated", "why", 1),
        ("/videos/a.mp4", 2, 27.0, 36.0, "timeout", "why", 3),
        ("/videos/b.mp4", None, None, None, "not_video", "why", 1),
    ]


def test_video_that_failed_whole_and_was_planned_again_is_as_its_segments_are(archive: Archive) -> None:
    archive.plan(planned("a", reason="unreadable"))
    assert archive.settle_failed() == 1
    assert archive.settle_failed() == 0
    assert archive.video()["status"] == "failed"
    [failed] = [row for part in failed_plans(Planned(archive.dataset)) for row in part.to_pylist()]
    archive.plan(planned("a", attempts=failed["attempts"] + 1))
    assert archive.settle_failed() == 0
    assert archive.tasks() == [("a", 0, 1)]
    archive.commit(finished("a"))
    assert archive.video()["status"] == "ok"
    assert archive.rows("quarantine") == []


def test_second_failure_of_a_whole_video_is_settled_too(archive: Archive) -> None:
    archive.plan(planned("a", reason="unreadable"))
    archive.settle_failed()
    archive.plan(planned("a", reason="not_video", attempts=2))
    assert archive.settle_failed() == 1
    assert [(row["reason"], row["attempts"]) for row in archive.rows("quarantine")] == [("not_video", 2)]
    assert totals(archive.dataset).reasons == {"not_video": 1}


def test_plan_that_stored_rows_refer_to_outlives_a_later_failure(archive: Archive) -> None:
    archive.plan(planned("a", segments=2))
    archive.commit(finished("a", 0))
    archive.plan(planned("a", attempts=2, reason="unreadable"))
    assert archive.video()["status"] == "unfinished"
    assert archive.tasks() == [("a", 1, 1)]
    [(_, plan)] = [part for part in archive.known()[0].parts() if len(part[1])]
    assert plan["attempts"].to_pylist() == [1]


def test_replaced_video_is_a_new_video(archive: Archive) -> None:
    archive.plan(planned("old"))
    archive.commit(finished("old"))
    archive.has_now("old")
    assert archive.video("old")["is_current"]
    archive.plan(planned("new") | {"uri": "/videos/old.mp4"})
    archive.commit(finished("new"))
    archive.has_now("new")
    assert {row["video_id"]: row["is_current"] for row in archive.rows("videos")} == {
        id_of("old"): False,
        id_of("new"): True,
    }


def test_without_a_listing_every_video_is_current(archive: Archive) -> None:
    archive.plan(planned("a"))
    assert archive.video()["is_current"]


def test_manifest_columns_of_several_runs_are_united(archive: Archive) -> None:
    archive.plan(planned("a", camera="north", level=1, label=None, tags=["x"]))
    archive.plan(planned("b", level=2.5, label="car", tags="y"))
    archive.plan(planned("c", camera=7))
    rows = {row["uri"][8]: row for row in archive.rows("videos")}
    assert [rows[name]["camera"] for name in "abc"] == ["north", None, "7"]
    assert [rows[name]["level"] for name in "abc"] == [1.0, 2.5, None]
    assert [rows[name]["label"] for name in "abc"] == [None, "car", None]
    assert [rows[name]["tags"] for name in "abc"] == ["['x']", "y", None]
    glob = f"{Path(archive.dataset.store.uri)}/videos/*.parquet"
    assert duckdb.connect().execute(f"select count(*), count(camera), sum(level) from '{glob}'").fetchall() == [
        (3, 2, 3.5)
    ]


def test_derived_files_are_replaced_whole_and_stale_ones_go(archive: Archive) -> None:
    archive.plan(planned("a"))
    archive.commit(finished("a", reason="crashed", num_samples=0))
    (Path(archive.dataset.store.uri) / "videos").mkdir()
    (Path(archive.dataset.store.uri) / "videos/stale.parquet").write_bytes(b"old")
    assert len(archive.rows("videos")) == len(archive.rows("quarantine")) == 1
    archive.commit(finished("a", attempts=2))
    assert archive.rows("quarantine") == []
    assert len(list((Path(archive.dataset.store.uri) / "videos").iterdir())) == 1


def test_empty_dataset_has_empty_tables(archive: Archive) -> None:
    assert archive.rows("videos") == archive.rows("quarantine") == []
    assert ds.dataset(Path(archive.dataset.store.uri) / "videos").schema.names == VIDEOS.schema.names
    assert totals(archive.dataset).videos == {"ok": 0, "partial": 0, "failed": 0, "unfinished": 0}


def test_totals_add_up_and_write_nothing(archive: Archive) -> None:
    archive.plan(planned("a", segments=2), planned("b", segments=2), planned("c", reason="not_video"))
    archive.commit(finished("a", 0), finished("a", 1), finished("b", 0, reason="corrupt"))
    found = totals(archive.dataset)
    assert found.videos == {"ok": 1, "partial": 0, "failed": 1, "unfinished": 1}
    assert found.reasons == {"corrupt": 1, "not_video": 1}
    assert (found.num_samples, found.num_segments, found.num_pending, found.hours) == (6, 4, 1, 0.02)
    assert not (Path(archive.dataset.store.uri) / "videos").exists()
    assert derive(archive.dataset, shard=WHOLE, token=archive.token) == found


def test_extract_does_what_is_not_settled_and_retry_also_what_kept_no_rows(archive: Archive) -> None:
    archive.plan(planned("a", segments=4), planned("b", segments=1), planned("c", reason="not_video"))
    archive.commit(finished("a", 0), finished("a", 1, reason="crashed", num_samples=0))
    archive.commit(finished("a", 2, reason="truncated"))
    archive.commit(finished("a", 1, reason="timeout", num_samples=0, attempts=2))
    assert archive.tasks() == [("a", 3, 1), ("b", 0, 1)]
    assert archive.tasks(is_retry=True) == [("a", 1, 3), ("a", 3, 1), ("b", 0, 1)]
    assert archive.tasks(chosen=["b", "c"]) == [("b", 0, 1)]
    assert archive.tasks(chosen=[]) == []


def test_tasks_are_in_the_order_of_video_and_segment_and_carry_locators(archive: Archive) -> None:
    archive.plan(*(planned(name, segments=3) for name in "dacb"))
    planned_, ledger = archive.known()
    [tasks] = pending_tasks(planned_, ledger, locators={id_of("c"): "https://signed"})
    assert tasks.schema == TASKS
    keys = [(row["video_id"], row["segment"]["index"]) for row in tasks.to_pylist()]
    assert keys == sorted(keys)
    assert {row["locator"] for row in tasks.to_pylist() if row["video_id"] == id_of("c")} == {"https://signed"}
    assert {row["locator"] for row in tasks.to_pylist() if row["video_id"] == id_of("a")} == {"/videos/a.mp4"}
    assert tasks.to_pylist()[0]["segment"] == segment(0).to_json()


def test_same_dataset_read_again_gives_the_same(archive: Archive) -> None:
    archive.plan(planned("a"))
    archive.commit(finished("a"))
    assert totals(Dataset.at(archive.dataset.store.uri)) == totals(archive.dataset)


# Shards side by side

FIRST, SECOND = Shard(index=1, count=2), Shard(index=2, count=2)
MINE, THEIRS = ([name for name in "abcdefghijklmnop" if shard.holds(id_of(name))][:3] for shard in (FIRST, SECOND))


def test_shards_bring_the_tables_up_to_date_without_touching_each_others(tmp_path: Path) -> None:
    first, second = Archive(tmp_path, shard=FIRST), Archive(tmp_path, shard=SECOND)
    first.plan(*(planned(name) for name in MINE))
    second.plan(planned(THEIRS[0]), planned(THEIRS[1], reason="not_video"))
    first.commit(*(finished(name) for name in MINE))
    assert {row["status"] for row in first.rows("videos")} == {"ok"}
    assert first.rows("quarantine") == []
    second.commit(finished(THEIRS[0]))
    second.settle_failed()
    assert len(second.rows("quarantine")) == 1
    rows = {row["video_id"]: row["status"] for row in first.rows("videos")}
    assert rows == {id_of(name): "ok" for name in [*MINE, THEIRS[0]]} | {id_of(THEIRS[1]): "failed"}
    assert len(first.rows("quarantine")) == 1


def test_shards_that_share_a_part_of_the_plan_leave_what_all_have_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second ends while the first, which has read less, is about to write."""
    whole = Archive(tmp_path)
    whole.plan(planned(MINE[0]), planned(THEIRS[0]))
    whole.commit(finished(MINE[0], reason="crashed", num_samples=0))
    assert len(whole.rows("quarantine")) == 1
    (tmp_path / "_vidlake/leases/1-of-1.json").unlink()
    first, second = Archive(tmp_path, shard=FIRST), Archive(tmp_path, shard=SECOND)
    first.commit(finished(MINE[0], attempts=2))
    put = Derived.put
    is_over = iter([False])

    def put_late(derived: Derived, part: str, rows: pa.Table) -> None:
        if not next(is_over, True):
            second.commit(finished(THEIRS[0]))
            derive(second.dataset, shard=SECOND, token=second.token)
        put(derived, part, rows)

    monkeypatch.setattr(Derived, "put", put_late)
    derive(first.dataset, shard=FIRST, token=first.token)
    for folder, expected in (("videos", ["ok", "ok"]), ("quarantine", [])):
        rows = ds.dataset(tmp_path / folder).to_table()
        assert (rows["status"].to_pylist() if len(rows) else []) == expected


def test_shard_says_only_of_its_own_videos_what_the_input_holds(tmp_path: Path) -> None:
    whole = Archive(tmp_path)
    whole.plan(*(planned(name) for name in [*MINE, *THEIRS]))
    whole.has_now(*MINE, *THEIRS)
    (tmp_path / "_vidlake/leases/1-of-1.json").unlink()
    first, second = Archive(tmp_path, shard=FIRST), Archive(tmp_path, shard=SECOND)
    first.has_now(*MINE[1:])
    second.has_now(*THEIRS[:2])
    gone = {row["video_id"] for row in first.rows("videos") if not row["is_current"]}
    assert gone == {id_of(MINE[0]), id_of(THEIRS[2])}


def test_first_listing_of_one_shard_leaves_the_others_planned_videos_current(tmp_path: Path) -> None:
    first, second = Archive(tmp_path, shard=FIRST), Archive(tmp_path, shard=SECOND)
    second.plan(*(planned(name) for name in THEIRS))
    first.plan(*(planned(name) for name in MINE))
    first.has_now(*MINE)
    assert all(row["is_current"] for row in second.rows("videos"))
