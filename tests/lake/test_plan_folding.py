"""Small files of the plan become few, whenever that is cut short."""

from pathlib import Path

import pyarrow as pa
import pytest
from rows import id_of, new_dataset, plan_table, planned

from pipeline.lake.dataset import Dataset
from pipeline.lake.plan_folding import fold_plan, together
from pipeline.lake.planned import PlanFiles, Planned, publish_plan
from pipeline.lake.publishing import folder_lease
from pipeline.records.shards import WHOLE, Shard

NAMES = "abcdefgh"


@pytest.fixture
def lake(tmp_path: Path) -> tuple[Dataset, str]:
    """A dataset with eight videos, each planned in a file of its own; one with a column of a manifest."""
    dataset, token = new_dataset(tmp_path / "lake")
    for name in NAMES:
        video = planned(name, segments=2, camera="north") if name == "c" else planned(name, segments=2)
        publish_plan(dataset, plan_table(video), token=token)
    return dataset, token


def rows_of(dataset: Dataset) -> list[dict[str, object]]:
    parts = pa.concat_tables(part for _, part in Planned(dataset).parts())
    rows: list[dict[str, object]] = parts.sort_by("video_id").to_pylist()
    return rows


def test_small_files_become_one_and_nothing_else_changes(lake: tuple[Dataset, str]) -> None:
    dataset, token = lake
    before = rows_of(dataset)
    fold_plan(dataset, shard=WHOLE, token=token)
    assert len(PlanFiles(dataset.files).names()) == 1
    assert rows_of(dataset) == before
    assert [row["video_id"] for row in before] == sorted(map(id_of, NAMES))
    files = PlanFiles(dataset.files).names()
    fold_plan(dataset, shard=WHOLE, token=token)
    assert PlanFiles(dataset.files).names() == files, "one file is left as it is"


@pytest.mark.slow
@pytest.mark.parametrize("num_removed", range(len(NAMES)))
def test_folding_that_is_killed_loses_and_doubles_nothing(
    lake: tuple[Dataset, str], num_removed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once this many of the small files are gone."""
    dataset, token = lake
    before, left = rows_of(dataset), num_removed

    class Killed(BaseException):
        pass

    remove = folder_lease.FolderFence.remove

    def killed(self: folder_lease.FolderFence, name: str) -> None:
        nonlocal left
        if not left:
            raise Killed
        left -= 1
        remove(self, name)

    with monkeypatch.context() as until_then:
        until_then.setattr(folder_lease.FolderFence, "remove", killed)
        with pytest.raises(Killed):
            fold_plan(dataset, shard=WHOLE, token=token)
    assert len(PlanFiles(dataset.files).names()) == 1 + len(NAMES) - num_removed
    assert rows_of(dataset) == before
    fold_plan(dataset, shard=WHOLE, token=token)
    assert len(PlanFiles(dataset.files).names()) == 1
    assert rows_of(dataset) == before


def test_who_has_begun_to_read_goes_on_with_what_was_folded_meanwhile(lake: tuple[Dataset, str]) -> None:
    dataset, token = lake
    before, expected = Planned(dataset), [(name, part) for name, part in Planned(dataset).parts()]
    fold_plan(dataset, shard=WHOLE, token=token)
    assert all(part.equals(other) for (_, part), (_, other) in zip(before.parts(), expected, strict=True))
    assert [part.column_names for _, part in before.parts(["reason"])] == [["reason"]] * len(NAMES)


def test_what_was_planned_again_counts_as_it_did_before(tmp_path: Path) -> None:
    dataset, token = new_dataset(tmp_path / "lake")
    for video in (planned("a", reason="crashed"), planned("a", segments=1) | {"attempts": 2}, planned("b", segments=3)):
        publish_plan(dataset, plan_table(video), token=token)
    before = rows_of(dataset)
    fold_plan(dataset, shard=WHOLE, token=token)
    assert rows_of(dataset) == before
    assert [row["reason"] for row in before] == [None, None]


def test_shards_which_may_be_at_work_leave_the_files_alone(lake: tuple[Dataset, str]) -> None:
    dataset, token = lake
    fold_plan(dataset, shard=Shard(index=1, count=2), token=token)
    assert len(PlanFiles(dataset.files).names()) == len(NAMES)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([5_000, 3_000, 2_500], [], id="what-is-half-full-stays"),
        pytest.param([1, 5_000, 2], [["0", "2"]], id="small-ones-go-together"),
        pytest.param([2_499, 2_499, 2_499], [["0", "1"], ["2"]], id="no-file-gets-too-large"),
    ],
)
def test_which_files_go_together(counts: list[int], expected: list[list[str]]) -> None:
    assert list(together((str(at), count) for at, count in enumerate(counts))) == expected
