"""The report of a run: there from the start, true while the run goes on, and closed by how the run ended."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE_S
from rows import dataset_info, new_dataset

from pipeline.errors import StorageError, WeightsError
from pipeline.extract import report
from pipeline.extract.context import RunContext, Target
from pipeline.extract.report import Reporting
from pipeline.extract.request import RunOptions
from pipeline.extract.results import Clockwork
from pipeline.extract.run_report import Point, Timeline
from pipeline.extract.short_reports import report_failure, reported
from pipeline.extract.tally import Counts, LocalTally, Worked
from pipeline.lake.dataset import Dataset
from pipeline.lake.run_reports import read_reports, report_name, write_report
from pipeline.records.resources import Hardware


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    dataset, token = new_dataset(tmp_path)
    hardware = Hardware(num_cpus=2, num_gpus=0, num_nodes=1)
    target = Target(dataset=dataset, info=dataset_info(), token=token)
    return RunContext.of(target, options=RunOptions(), hardware=hardware, tally=LocalTally())


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_EVERY_S", 0.02)


def document(folder: Path) -> dict[str, Any]:
    [path] = (folder / "_vidlake" / "runs").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def wait_until_counted(folder: Path, num_samples: int) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if list((folder / "_vidlake" / "runs").glob("*.json")):
            found = document(folder)
            if found["stages"].get("decode", {}).get("num_samples") == num_samples:
                return found
        time.sleep(0.01)
    raise AssertionError("the report does not tell what was done")


def run_into(error: BaseException, context: RunContext) -> None:
    clockwork = Clockwork()
    with Reporting(context, clockwork):
        clockwork.mark("plan")
        context.tally.add(worked(5))
        raise error


def worked(num_samples: int) -> Worked:
    return Worked(stage="decode", began=0.0, ended=1.0, counts=Counts(num_samples=num_samples))


def test_a_run_that_is_killed_leaves_what_was_done_until_then(context: RunContext, tmp_path: Path) -> None:
    """What lies there while the run goes on is what a kill leaves."""
    with Reporting(context, Clockwork()) as reporting:
        context.tally.add(worked(3))
        assert wait_until_counted(tmp_path, 3)["state"] == "running"
        context.tally.add(worked(4))
        assert wait_until_counted(tmp_path, 7)["state"] == "running"
        reporting.finish()
    assert document(tmp_path)["state"] == "finished"


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        pytest.param(StorageError("the store is away"), "failed", "the store is away", id="failed"),
        pytest.param(KeyboardInterrupt(), "interrupted", "KeyboardInterrupt", id="interrupted"),
    ],
)
def test_a_run_that_ends_early_says_why(
    context: RunContext, tmp_path: Path, error: BaseException, state: str, text: str
) -> None:
    with pytest.raises(type(error)):
        run_into(error, context)
    found = document(tmp_path)
    assert (found["state"], found["error"]) == (state, text)
    assert found["stages"]["decode"]["num_samples"] == 5
    assert "plan" in found["marks_s"]


def test_what_a_finished_run_did_is_told_with_its_workers(context: RunContext, tmp_path: Path) -> None:
    with Reporting(context, Clockwork()) as reporting:
        context.tally.add(Worked(stage="embed", worker="w", began=1.0, ended=2.5, counts=Counts(num_bytes=9)))
        assert reporting.finish()["embed"].counts.num_bytes == 9
    found = document(tmp_path)
    assert found["error"] is None
    assert found["stages"]["embed"]["workers"] == {"w": {"stretches": [[1.0, 2.5]], "busy_s": 1.5, "private_bytes": 0}}
    assert found["stages"]["embed"]["num_bytes"] == 9


def test_a_report_tells_how_the_run_went_over_time(context: RunContext, tmp_path: Path) -> None:
    with Reporting(context, Clockwork("retry")) as reporting:
        context.tally.add(worked(3))
        wait_until_counted(tmp_path, 3)
        context.tally.add(Worked(stage="commit", began=1.0, ended=2.0, counts=Counts(num_samples=3)))
        reporting.finish()
    found = document(tmp_path)
    assert found["command"] == "retry"
    assert found["hardware"] == {"num_cpus": 2, "num_gpus": 0, "num_nodes": 1}
    assert found["num_actors"] == 1
    decoded, committed = ([point[stage] for point in found["timeline"]] for stage in ("decode", "commit"))
    assert decoded == sorted(decoded)
    assert (decoded[-1], committed[-1]) == (3, 3)
    assert [point["at_s"] for point in found["timeline"]] == sorted(point["at_s"] for point in found["timeline"])


def test_the_report_of_a_long_run_stays_small() -> None:
    timeline = Timeline(most=10)
    for at in range(1000):
        timeline.add(Point(at_s=float(at), decode=at, embed=at, commit=at))
    times = [point.at_s for point in timeline.points]
    assert len(times) <= 10
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0.0, 999.0)


@pytest.mark.parametrize("exists", [True, False], ids=["a dataset", "no dataset yet"])
def test_a_run_that_fails_before_it_begins_leaves_a_report_where_there_is_a_dataset(
    tmp_path: Path, exists: bool
) -> None:
    dataset = new_dataset(tmp_path)[0] if exists else Dataset.at(str(tmp_path))
    report_failure([dataset], Clockwork(), WeightsError("the weights are away"))
    if not exists:
        assert list(tmp_path.iterdir()) == []
        return
    [found] = read_reports(dataset, most=5)
    assert (found["state"], found["error"], found["stages"]) == ("failed", "the weights are away", {})


def test_what_is_no_report_is_passed_over_and_the_newest_come_first(tmp_path: Path) -> None:
    dataset, _ = new_dataset(tmp_path)
    for second in range(3):
        began = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
        times = {"began": began.isoformat(), "written": began.isoformat()}
        write_report(dataset, report_name(began, run="a"), {"state": "finished", **times})
    (tmp_path / "_vidlake/runs/20260101T000009-b.json").write_text("{")
    (tmp_path / "_vidlake/runs/20260101T000009-c.json").write_text('{"state": "running"}')
    assert [report["name"] for report in read_reports(dataset, most=2)] == ["20260101T000002-a", "20260101T000001-a"]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        pytest.param(None, "finished", id="finished"),
        pytest.param(StorageError("the store is away"), "failed", id="failed"),
        pytest.param(KeyboardInterrupt(), "interrupted", id="interrupted"),
    ],
)
def test_a_run_that_counts_nothing_tells_how_it_ended(tmp_path: Path, error: BaseException | None, state: str) -> None:
    dataset, _ = new_dataset(tmp_path)
    clockwork = Clockwork("predict")

    def run() -> None:
        with reported(dataset, clockwork):
            clockwork.mark("plan")
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(type(error)):
            run()
    [found] = read_reports(dataset, most=5)
    assert (found["command"], found["state"], list(found["marks_s"])) == ("predict", state, ["plan"])  # type: ignore[call-overload]
