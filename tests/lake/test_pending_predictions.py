"""Predictions are there exactly once, whatever is killed, added, retried, compacted or taken over meanwhile."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from other_runs import KILLED_AT_FSYNC, forks
from predictions import Here, head_for, predictions
from rows import dataset_info, finished, id_of, new_dataset, plan_table, planned

from pipeline.errors import UsageError
from pipeline.lake.compaction.compact import compact
from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import publish_listed, publish_plan
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.tables import derive, side_tables
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.periods import Period
from pipeline.records.shards import WHOLE

NAMES = ("a", "b", "c", "d")
UNITS = ["frame", "window:2"]


class Lake:
    """A lake of four videos of two segments of three samples each, that may grow."""

    def __init__(self, folder: Path | str, *, without: set[tuple[str, int]] | None = None, **further: Any) -> None:
        self.folder = folder
        self.dataset, self.token = new_dataset(folder)
        publish_plan(
            self.dataset, plan_table(*(planned(name, segments=2, **further) for name in NAMES)), token=self.token
        )
        work = [key for key in itertools.product(NAMES, range(2)) if key not in (without or set())]
        for at in range(0, len(work), 3):
            self.add(*work[at : at + 3])
        self.derive()

    def add(self, *segments: tuple[str, int], attempts: int = 1, reason: str | None = None) -> None:
        num_samples = 0 if reason else 3
        rows = [finished(*each, num_samples=num_samples, attempts=attempts, reason=reason) for each in segments]
        self.dataset.publish_features(pa.concat_tables(rows), dataset_info(), token=self.token)

    def derive(self) -> None:
        derive(self.dataset, shard=WHOLE, token=self.token)

    def release(self) -> None:
        """Let go of the lease, so that predictions may lie in the lake itself."""
        (Path(str(self.folder)) / "_vidlake/leases/1-of-1.json").unlink()


def keys(out: Path | str) -> list[tuple[str, int]]:
    rows = predictions(out)
    return list(zip(rows["video_id"].to_pylist(), rows["pts"].to_pylist(), strict=True))


def expected(unit: str, *segments: tuple[str, int]) -> list[tuple[str, int]]:
    """The first samples of the units of these segments, which are all of their videos."""
    times = {"frame": (0, 1, 2), "window:2": (0, 2)}[unit]
    return sorted((id_of(name), (segment * 12 + at) * 1000) for name, segment in segments for at in times)


ALL = list(itertools.product(NAMES, range(2)))


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((out / "predictions").iterdir())}


@pytest.fixture(params=UNITS)
def unit(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def here(tmp_path: Path, unit: str, *, out: str = "out") -> Here:
    return Here(tmp_path / "lake", tmp_path / out, tmp_path / "heads", head_for(tmp_path / "lake", unit=unit))


def test_run_again_does_nothing(tmp_path: Path, unit: str) -> None:
    Lake(tmp_path / "lake")
    predicting = here(tmp_path, unit)
    assert predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL)
    before = contents(tmp_path / "out")
    assert predicting.run() == []
    assert contents(tmp_path / "out") == before


IMPORTS = """
from pathlib import Path
import test_pending_predictions as t
"""
KILLED_WHILE_PUBLISHING = f"""
{KILLED_AT_FSYNC}
{IMPORTS}
t.here(Path(sys.argv[1]), sys.argv[2]).run()
"""


@pytest.mark.slow
def test_killed_at_any_moment_every_unit_is_there_once(tmp_path: Path, unit: str) -> None:
    Lake(tmp_path / "lake")
    here(tmp_path, unit)
    with forks(IMPORTS, folders=(str(Path(__file__).parent),)) as started:
        for moment in itertools.count(1, 4):
            killed, _ = started.run(KILLED_WHILE_PUBLISHING, tmp_path, unit, moment)
            if not killed:
                break
            assert killed == -9
    assert moment > 1
    assert here(tmp_path, unit).run() == []
    assert keys(tmp_path / "out") == expected(unit, *ALL)


def test_new_features_are_picked_up_and_finished_files_stay(tmp_path: Path, unit: str) -> None:
    lake = Lake(tmp_path / "lake", without={("c", 0), ("c", 1), ("d", 0), ("d", 1)})
    predicting = here(tmp_path, unit)
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL[:4])
    before = contents(tmp_path / "out")
    lake.add(("c", 0), ("c", 1), ("d", 0), ("d", 1))
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL)
    assert before.items() <= contents(tmp_path / "out").items()


def test_frames_do_not_wait_and_windows_do(tmp_path: Path, unit: str) -> None:
    lake = Lake(tmp_path / "lake", without={("d", 1)})
    predicting = here(tmp_path, unit)
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *(ALL[:-1] if unit == "frame" else ALL[:-2]))
    lake.add(("d", 1))
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL)


def test_rows_that_a_retry_adds_are_predicted_once(tmp_path: Path, unit: str) -> None:
    lake = Lake(tmp_path / "lake", without={("d", 1)})
    lake.add(("d", 1), reason="crashed")
    predicting = here(tmp_path, unit)
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL[:-1])
    lake.add(("d", 1), attempts=2)
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL)
    assert predicting.run() == []


def test_video_of_windows_is_replaced_whole_and_those_of_other_files_stay(tmp_path: Path) -> None:
    """A video's last frame lasts to its end; with a further segment its last window is another."""
    lake = Lake(tmp_path / "lake", without={("a", 1), ("c", 0), ("c", 1), ("d", 0), ("d", 1)})
    lake.add(("a", 1), reason="crashed")
    predicting = Here(
        tmp_path / "lake", tmp_path / "out", tmp_path / "heads", head_for(tmp_path / "lake", unit="video")
    )
    predicting.run()
    [first] = contents(tmp_path / "out").items()
    lake.add(("c", 0), ("c", 1), ("d", 0), ("d", 1))
    predicting.run()
    second = {name: data for name, data in contents(tmp_path / "out").items() if name != first[0]}
    before = predictions(tmp_path / "out")
    lake.add(("a", 1), attempts=2)
    predicting.run()
    after = contents(tmp_path / "out")
    assert after.keys() == {first[0], *second}
    assert second.items() <= after.items()
    assert after[first[0]] != first[1]
    rows = predictions(tmp_path / "out")
    assert len(rows) == len(before) == 4
    changed = [one != other for one, other in zip(rows.to_pylist(), before.to_pylist(), strict=True)]
    assert [row["video_id"] for row, is_other in zip(rows.to_pylist(), changed, strict=True) if is_other] == [
        id_of("a")
    ]


def test_compacted_lake_has_nothing_new(tmp_path: Path, unit: str) -> None:
    lake = Lake(tmp_path / "old")
    info = head_for(tmp_path / "old", unit=unit)
    Here(tmp_path / "old", tmp_path / "out", tmp_path / "heads", info).run()
    new = Dataset.at(str(tmp_path / "new"))
    new.store.ensure_writable()
    compact(lake.dataset, new, token=new.backend.acquire(slot=WHOLE).token)
    before = contents(tmp_path / "out")
    assert Here(tmp_path / "new", tmp_path / "out", tmp_path / "heads", info).run() == []
    assert contents(tmp_path / "out") == before


def test_half_predicted_lake_that_is_compacted_gets_the_rest(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "old")
    info = head_for(tmp_path / "old")
    Here(tmp_path / "old", tmp_path / "out", tmp_path / "heads", info).run(limit=2)
    new = Dataset.at(str(tmp_path / "new"))
    new.store.ensure_writable()
    compact(lake.dataset, new, token=new.backend.acquire(slot=WHOLE).token)
    Here(tmp_path / "new", tmp_path / "out", tmp_path / "heads", info).run()
    assert keys(tmp_path / "out") == expected("frame", *ALL)


def test_predictions_in_the_lake_itself_are_shown_and_compacted_along(tmp_path: Path, unit: str) -> None:
    lake = Lake(tmp_path / "lake")
    lake.release()
    here(tmp_path, unit, out="lake").run()
    assert side_tables(lake.dataset)["predictions"].num_rows == len(expected(unit, *ALL))
    new = Dataset.at(str(tmp_path / "new"))
    new.store.ensure_writable()
    compact(lake.dataset, new, token=new.backend.acquire(slot=WHOLE).token)
    (tmp_path / "new/_vidlake/leases/1-of-1.json").unlink()
    info = head_for(tmp_path / "new", unit=unit)
    assert Here(tmp_path / "new", tmp_path / "new", tmp_path / "heads", info).run() == []
    assert keys(tmp_path / "new") == expected(unit, *ALL)


def test_videos_that_are_no_longer_current_are_left_out(tmp_path: Path, unit: str) -> None:
    lake = Lake(tmp_path / "lake")
    publish_listed(
        lake.dataset,
        Ids([id_bytes(pa.chunked_array([[id_of(name) for name in "acd"]]))]),
        shard=WHOLE,
        token=lake.token,
    )
    lake.derive()
    here(tmp_path, unit).run()
    assert keys(tmp_path / "out") == expected(unit, *(each for each in ALL if each[0] != "b"))


@pytest.mark.parametrize(
    ("unit", "how"),
    [("frame", {"version": 2}), ("frame", {"digest": "e"}), ("window:2", {})],
    ids=["version", "digest", "unit"],
)
def test_another_head_into_the_same_place_is_refused_and_touches_nothing(
    tmp_path: Path, unit: str, how: dict[str, Any]
) -> None:
    Lake(tmp_path / "lake")
    here(tmp_path, "frame").run()
    before = contents(tmp_path / "out")
    info = head_for(tmp_path / "lake", unit=unit)
    with pytest.raises(UsageError, match=r"were made by head h@1.* not by h@[12]"):
        Here(tmp_path / "lake", tmp_path / "out", tmp_path / "heads", info, **how).run()
    assert contents(tmp_path / "out") == before


def test_run_that_was_taken_over_publishes_nothing(tmp_path: Path, unit: str) -> None:
    Lake(tmp_path / "lake")
    predicting = here(tmp_path, unit)

    def take_over() -> None:
        (tmp_path / "out/_vidlake/leases/1-of-1.json").unlink()
        predicting.target.backend.acquire(slot=WHOLE)

    with pytest.raises(LeaseLost):
        predicting.run(meanwhile=take_over)
    assert not list((tmp_path / "out").glob("predictions/*"))


def test_file_that_another_run_replaces_is_looked_at_again(tmp_path: Path) -> None:
    """What it says by then is of rows that were read later; nothing of the video is lost or there twice."""
    lake = Lake(tmp_path / "lake", without={("a", 1)})
    lake.add(("a", 1), reason="crashed")
    predicting = here(tmp_path, "window:2")
    predicting.run()
    lake.add(("a", 1), attempts=2)
    [path] = (tmp_path / "out/predictions").iterdir()
    [part] = predicting.run(meanwhile=lambda: os.utime(path, ns=(1, 1)))
    assert part.is_refused
    assert keys(tmp_path / "out") == expected("window:2", *(each for each in ALL if each != ("a", 1)))
    [part] = predicting.run()
    assert not part.is_refused
    assert keys(tmp_path / "out") == expected("window:2", *ALL)


@pytest.mark.parametrize(("since", "until", "names"), [("2026-01-02", None, "cd"), (None, "2026-01-02", "ab")])
def test_period_chooses_by_when_videos_were_recorded(
    tmp_path: Path, unit: str, since: str | None, until: str | None, names: str
) -> None:
    """Each video on a day of its own at noon; what was left out is predicted by a later run without the period."""
    dated_lake(tmp_path / "lake", "01", "01", "02", "03")
    predicting = here(tmp_path, unit)
    predicting.run(period=Period.parse(since, until))
    assert keys(tmp_path / "out") == expected(unit, *(each for each in ALL if each[0] in names))
    predicting.run()
    assert keys(tmp_path / "out") == expected(unit, *ALL)


def dated_lake(folder: Path, *days: str) -> None:
    """The videos, each recorded at noon of a day of January 2026."""
    dataset, token = new_dataset(folder)
    for day, name in zip(days, NAMES, strict=True):
        row = planned(name, segments=2)
        row["facts"] = {**row["facts"], "creation_time": f"2026-01-{day}T12:00:00Z"}
        publish_plan(dataset, plan_table(row), token=token)
        rows = [finished(name, segment, num_samples=3) for segment in range(2)]
        dataset.publish_features(pa.concat_tables(rows), dataset_info(), token=token)
    derive(dataset, shard=WHOLE, token=token)


def test_period_within_a_video_takes_the_segments_of_frames_that_it_touches(tmp_path: Path) -> None:
    """The second segment of each begins 12 s after its video."""
    dated_lake(tmp_path / "lake", "01", "01", "01", "01")
    at = "2026-01-01T12:00:10Z"
    predicting = here(tmp_path, "frame")
    predicting.run(period=Period.parse(at, None))
    assert keys(tmp_path / "out") == expected("frame", *(each for each in ALL if each[1] == 1))
    predicting.run(period=Period.parse(None, at))
    assert keys(tmp_path / "out") == expected("frame", *ALL)


def test_models_of_a_folder_are_predicted_on_together(tmp_path: Path) -> None:
    """Frames too go by video then: the samples that all models have."""
    Lake(tmp_path / "lake" / "a-model")
    shutil.copytree(tmp_path / "lake" / "a-model", tmp_path / "lake" / "b-model")
    predicting = here(tmp_path, "frame")
    predicting.run()
    assert keys(tmp_path / "out") == expected("frame", *ALL)
    assert predicting.run() == []


@pytest.mark.quick_one_in(4)
def test_predictions_lie_in_any_place(tmp_path: Path, place: str, unit: str) -> None:
    Lake(place)
    Dataset.at(place).store.remove("_vidlake/leases/1-of-1.json")
    Dataset.at(place).store.remove("_vidlake/leases/register.json")
    info = head_for(place, unit=unit)
    predicting = Here(place, place, tmp_path / "heads", info)
    predicting.run(limit=1)
    predicting.run()
    assert predicting.run() == []
    status = side_tables(predicting.target)["predictions"]
    assert status.num_rows == len(expected(unit, *ALL))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, unit: str) -> None:
    code = (
        "import resource, sys; from pathlib import Path; import test_pending_predictions as t\n"
        "predicting = t.here(Path(sys.argv[1]), sys.argv[2])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "predicting.run(piece_rows=20_000)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)"
    )
    grown = []
    for times in (1, 8):
        folder = tmp_path / str(times)
        dataset, token = new_dataset(folder / "lake")
        for name in map(str, range(10 * times)):
            rows = pa.concat_tables([finished(name, segment, num_samples=500) for segment in range(12)])
            dataset.publish_features(rows, dataset_info(), token=token)
        here(folder, unit)
        words = [sys.executable, "-c", code, str(folder), unit]
        grown.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
    assert grown[1] < grown[0] + (48 << 20), grown
