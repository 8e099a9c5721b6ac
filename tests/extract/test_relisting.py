"""What ``retry`` makes of videos that failed: the ids that ``extract`` would give them, each once, and no signature."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rows import new_dataset, plan_table, planned
from web import object_server

from pipeline.extract.relisting import Relisting
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import id_of, listed_video
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import num_signed_failures, pending_tasks
from pipeline.lake.planned import Planned, listed, publish_listed, publish_plan, replace_listed
from pipeline.records.ids import Ids
from pipeline.records.shards import WHOLE


def rows_of(words: Sequence[object]) -> list[dict[str, Any]]:
    """The rows of ``PLAN`` that ``extract`` writes for what is not there, or is no video."""
    found = []
    for source in Inputs([str(word) for word in words]):
        video = listed_video(source, attempts=1)
        row = planned("any", reason="not_video") | dict(video.to_row())
        found.append(row | {"reason": row["reason"] or "not_video", "detail": row["detail"] or "why"})
        found[-1].pop("locator")
    return found


def id_now(path: Path) -> str:
    [source] = Inputs([str(path)])
    return id_of(source)


def test_a_file_that_came_back_gets_the_id_that_extract_gives_it(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    (tmp_path / "list.csv").write_text("uri,camera,start_s\nlate.mp4,north,1.5\nnever.mp4,south,\n")
    failed = rows_of([tmp_path / "list.csv"])
    publish_plan(dataset, plan_table(*failed), token=token)
    (tmp_path / "late.mp4").write_bytes(b"there")
    relisting = Relisting(Planned(dataset))
    [again] = relisting.videos()
    late, never = rows_of([tmp_path / "list.csv"])
    shown = ["video_id", "attempts", "camera", "range_start", "reason"]
    assert again.select(shown).to_pylist() == [
        {"video_id": late["video_id"], "attempts": 1, "camera": "north", "range_start": "3/2", "reason": None},
        {"video_id": never["video_id"], "attempts": 2, "camera": "south", "range_start": None, "reason": "unreadable"},
    ]
    assert relisting.replaced == {failed[0]["video_id"]: late["video_id"]}


def test_a_file_that_failed_twice_under_one_name_is_planned_once(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    (tmp_path / "list.txt").write_text("a.mp4\n")
    failed = []
    for content in (None, b"first", b"second"):
        if content is not None:
            (tmp_path / "a.mp4").write_bytes(content)
        failed += rows_of([tmp_path / "list.txt"])
    publish_plan(dataset, plan_table(*failed), token=token)
    (tmp_path / "a.mp4").write_bytes(b"the last")
    [again] = Relisting(Planned(dataset)).videos()
    assert again["video_id"].to_pylist() == [id_now(tmp_path / "a.mp4")]


def test_what_extract_has_planned_meanwhile_is_not_planned_again(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    (tmp_path / "list.txt").write_text("a.mp4\n")
    failed = rows_of([tmp_path / "list.txt"])
    (tmp_path / "a.mp4").write_bytes(b"there")
    done = planned("any") | {"video_id": id_now(tmp_path / "a.mp4")}
    publish_plan(dataset, plan_table(*failed, done), token=token)
    assert list(Relisting(Planned(dataset)).videos()) == []


def test_a_name_that_is_no_text_keeps_its_id(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    path = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    path.write_bytes(b"no video")
    publish_plan(dataset, plan_table(*rows_of([path])), token=token)
    [again] = Relisting(Planned(dataset)).videos()
    assert again.select(["video_id", "attempts"]).to_pylist() == [{"video_id": id_now(path), "attempts": 2}]


def test_signed_addresses_are_told_apart_and_left_out(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    with object_server() as server:
        words = [
            f"{server.url}?X-Amz-Signature=s3cr3t",
            f"{server.url}?clip=2",
            server.url.replace("//", "//me:pw@") + "?3",
        ]
        failed = rows_of(words)
        crashed = planned("any", segments=2) | {"video_id": "f" * 20, "is_signed": True}
        publish_plan(dataset, plan_table(*failed, crashed), token=token)
        [again] = Relisting(Planned(dataset)).videos()
    assert again["video_id"].to_pylist() == [failed[1]["video_id"]]
    plan, ledger = Planned(dataset), Ledger.of(dataset.settled_parts())
    assert num_signed_failures(plan, ledger) == 3
    assert list(pending_tasks(plan, ledger, is_retry=True)) == []
    assert sum(map(len, pending_tasks(plan, ledger))) == 2, "whoever has the signature still may"
    written = b"".join(path.read_bytes() for path in (tmp_path / "lake").rglob("*.parquet"))
    assert b"s3cr3t" not in written


def test_a_video_that_came_back_is_current_in_the_place_of_its_failure(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    ids = Ids()
    for digit in "ab":
        ids.add(digit * 20)
    publish_listed(dataset, ids, shard=WHOLE, token=token)
    replace_listed(dataset, {"a" * 20: "c" * 20, "e" * 20: "f" * 20}, token=token)
    current = listed(dataset)
    assert current is not None
    assert current.to_bytes().tolist() == [b"b" * 20, b"c" * 20]
