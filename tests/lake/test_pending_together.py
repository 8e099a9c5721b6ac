"""Each dataset of a run gets what it lacks; what several lack of the same cut is decoded once for all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned, segment

from pipeline.lake.dataset import Dataset
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import Wanted
from pipeline.lake.pending_together import Progress, pending_together
from pipeline.lake.planned import Planned, publish_plan
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.segments import Segment

ALL = Wanted(chosen=None, locators={}, is_retry=False)


def lake(folder: Path, plans: Sequence[Sequence[dict[str, Any]]], *settled: tuple[str, int, str | None]) -> Progress:
    """A dataset with some files of a plan, and segments that are settled."""
    dataset, token = new_dataset(folder)
    for rows in plans:
        publish_plan(dataset, plan_table(*rows), token=token)
    for name, index, reason in settled:
        row = finished(name, index, reason=reason, num_samples=0 if reason else 2)
        dataset.publish_features(row, dataset_info(), token=token)
    return progress_of(dataset)


def progress_of(dataset: Dataset) -> Progress:
    return Progress(planned=Planned(dataset), ledger=Ledger.of(dataset.settled_parts()))


def pending(*progress: Progress, wanted: Wanted = ALL) -> set[tuple[tuple[int, ...], str, int, int]]:
    """Who lacks which segment of which video, to be decoded for which time."""
    found = []
    for each in pending_together(progress, wanted):
        rows = each.tasks.to_pylist()
        keys = [(row["video_id"], row["segment"]["index"]) for row in rows]
        assert keys == sorted(keys), "tasks come in the order of video and segment"
        assert rows
        found += [(each.lacking, row["uri"][8], row["segment"]["index"], row["attempts"]) for row in rows]
    assert len(found) == len(set(found))
    return set(found)


def ids_of(*names: str) -> Ids:
    return Ids([id_bytes(pa.chunked_array([[id_of(name) for name in names]]))])


def test_what_all_lack_is_decoded_once_however_the_plans_lie_in_files(tmp_path: Path) -> None:
    a, b, c = (planned(name, segments=2) for name in "abc")
    one = lake(tmp_path / "one", [[a, b], [c]])
    other = lake(tmp_path / "other", [[c, b, a]])
    assert pending(one, other) == {((0, 1), name, index, 1) for name in "abc" for index in range(2)}


def test_each_gets_what_it_lacks_and_finished_ones_nothing(tmp_path: Path) -> None:
    plan = [[planned(name, segments=2) for name in "ab"]]
    done = [("a", 0, None), ("a", 1, None), ("b", 0, None), ("b", 1, None)]
    finished_one = lake(tmp_path / "finished", plan, *done)
    behind = lake(tmp_path / "behind", plan, *done[:3])
    new = lake(tmp_path / "new", plan)
    assert pending(finished_one, behind, new) == {
        ((2,), "a", 0, 1),
        ((2,), "a", 1, 1),
        ((2,), "b", 0, 1),
        ((1, 2), "b", 1, 1),
    }
    assert pending(finished_one) == set()


def test_where_the_cut_differs_each_is_decoded_apart(tmp_path: Path) -> None:
    """All that a plan says of a segment counts: also which frames its rule picked one by one."""
    cuts: list[list[Segment]] = [[segment(0), segment(1)], [segment(0), segment(1, num_samples=3)]]
    one, other = (lake(tmp_path / str(at), [[planned("a", segments=cut)]]) for at, cut in enumerate(cuts))
    assert pending(one, other) == {((0, 1), "a", 0, 1), ((0,), "a", 1, 1), ((1,), "a", 1, 1)}


def test_a_video_that_one_plan_alone_has_is_not_lost(tmp_path: Path) -> None:
    one = lake(tmp_path / "one", [[planned("a")]])
    other = lake(tmp_path / "other", [[planned("b"), planned("a")], [planned("c", reason="crashed")]])
    assert pending(one, other) == {((0, 1), "a", 0, 1), ((1,), "b", 0, 1)}
    assert pending(one, other, wanted=Wanted(chosen=ids_of("b"), locators={}, is_retry=False)) == {((1,), "b", 0, 1)}


def test_retry_repeats_for_those_alone_that_failed_and_tells_attempts_apart(tmp_path: Path) -> None:
    plan = [[planned("a", segments=3)]]
    one = lake(tmp_path / "one", plan, ("a", 0, "crashed"), ("a", 1, None), ("a", 2, "crashed"))
    other = lake(tmp_path / "other", plan, ("a", 0, "crashed"), ("a", 1, "timeout"))
    again = Wanted(chosen=None, locators={}, is_retry=True)
    assert pending(one, other, wanted=again) == {
        ((0, 1), "a", 0, 2),
        ((1,), "a", 1, 2),
        ((0,), "a", 2, 2),
        ((1,), "a", 2, 1),
    }


def test_two_tables_of_one_dataset_share_its_plan(tmp_path: Path) -> None:
    features = lake(tmp_path, [[planned("a", segments=2)]], ("a", 0, None))
    beside = Progress(planned=features.planned, ledger=Ledger.of([]))
    assert pending(features, beside) == {((1,), "a", 0, 1), ((0, 1), "a", 1, 1)}


def test_rows_of_some_videos_are_those_that_count(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path)
    for rows in (
        [planned("a", reason="crashed"), planned("b")],
        [planned("a", segments=2, attempts=2)],
        [planned("c")],
    ):
        publish_plan(dataset, plan_table(*rows), token=token)
    wanted = np.sort(np.array([id_of(name).encode() for name in ("c", "a", "x")]))
    found = Planned(dataset).of_videos(wanted, ["video_id", "segments"]).to_pylist()
    assert {row["video_id"]: len(row["segments"]) for row in found} == {id_of("a"): 2, id_of("c"): 1}
    assert Planned(dataset).of_videos(wanted[:0]).num_rows == 0
