"""What has been planned becomes waves: at once where the workers are idle, and larger ones as planning gets ahead."""

import threading
from pathlib import Path

import pyarrow as pa
import pytest
from patience import PATIENCE_S
from rows import dataset_info, new_dataset, segment, task

from pipeline.errors import RunError
from pipeline.extract import dataflow, flow
from pipeline.extract.context import RunContext, Target
from pipeline.extract.flow import Flow, is_due
from pipeline.extract.progress import Display
from pipeline.extract.request import RunOptions
from pipeline.extract.sizes import Work
from pipeline.extract.tally import LocalTally
from pipeline.records.resources import Hardware
from pipeline.records.rows import table_of
from pipeline.records.schemas import TASKS


def of(cost_s: float) -> Work:
    return Work(num_segments=int(cost_s > 0), num_samples=1, cost_s=cost_s)


@pytest.mark.parametrize(
    ("offered_s", "running_s", "num_running", "expected"),
    [
        pytest.param(0, None, 0, False, id="nothing-was-planned"),
        pytest.param(0.1, None, 0, True, id="the-first-video-is-not-waited-with"),
        pytest.param(1, 2, 1, False, id="less-than-the-last-waits"),
        pytest.param(2, 2, 1, True, id="waves-double"),
        pytest.param(120, 10_000, 1, True, id="a-minute-for-each-of-two-workers-is-enough"),
        pytest.param(119, 10_000, 1, False, id="less-is-not"),
        pytest.param(10_000, 2, 2, False, id="two-at-once-are-enough"),
    ],
)
def test_when_a_wave_begins(offered_s: float, running_s: float | None, num_running: int, expected: bool) -> None:
    running = None if running_s is None else of(running_s)
    assert is_due(of(offered_s), running=running, num_running=num_running, num_workers=2) is expected


class Waves:
    """Stands in for the cluster: a wave ends when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[int] = []
        self.models: list[object] = []
        self._ends = threading.Semaphore(0)
        self._begins = threading.Semaphore(0)
        monkeypatch.setattr(dataflow, "start_models", self._start_models)
        monkeypatch.setattr(dataflow, "run_extract", self._run)

    def _start_models(self, context: RunContext) -> object:
        self.models.append(context)
        return self

    def _run(self, tasks: list[pa.Table], **_: object) -> None:
        self.begun.append(sum(map(len, tasks)))
        self._begins.release()
        assert self._ends.acquire(timeout=PATIENCE_S)

    def wait_for_one(self) -> None:
        assert self._begins.acquire(timeout=PATIENCE_S)

    def end_all(self) -> None:
        for _ in range(100):
            self._ends.release()


@pytest.fixture
def waves(monkeypatch: pytest.MonkeyPatch) -> Waves:
    return Waves(monkeypatch)


def new_flow(folder: Path, *, options: RunOptions = RunOptions()) -> Flow:  # noqa: B008 (frozen)
    dataset, token = new_dataset(folder / "lake")
    target = Target(dataset=dataset, token=token, info=dataset_info())
    hardware = Hardware(num_cpus=2, num_gpus=0, num_nodes=1)
    context = RunContext.of(target, options=options, hardware=hardware, tally=LocalTally())
    return Flow(context, display=Display(is_quiet=True))


def video(name: str, *, cost_s: float = 1.0) -> pa.Table:
    return table_of([task(name, segment(0, cost_s=cost_s))], TASKS)


def test_the_first_video_is_decoded_while_the_others_are_planned(tmp_path: Path, waves: Waves) -> None:
    stream = new_flow(tmp_path)

    def plan() -> None:
        stream.warm_up((0,))
        stream.offer((0,), video("a"))
        waves.wait_for_one()
        assert stream.known().is_planning
        for name in "bcd":
            stream.offer((0,), video(name))
        waves.end_all()

    stream.run(plan)
    assert (waves.begun[0], sum(waves.begun)) == (1, 4)
    assert len(waves.models) == 1, "the models stay from wave to wave"
    assert (stream.known().num_videos, stream.known().is_planning) == (4, False)


def test_a_cap_on_decode_workers_holds_for_the_run(tmp_path: Path, waves: Waves) -> None:
    stream = new_flow(tmp_path, options=RunOptions(decode_workers=1))

    def plan() -> None:
        stream.offer((0,), video("a"))
        waves.wait_for_one()
        stream.offer((0,), video("b", cost_s=1000.0))
        assert not stream.is_hungry
        assert waves.begun == [1]
        waves.end_all()

    stream.run(plan)
    assert waves.begun == [1, 1]


def test_a_wave_has_no_more_tasks_than_a_driver_can_hold(
    tmp_path: Path, waves: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "_WAVE_TASKS", 1)
    monkeypatch.setattr(flow, "_WAVE_TASKS_PER_WORKER", 1)  # of two workers: two tasks of a minute
    stream = new_flow(tmp_path)

    def plan() -> None:
        stream.offer((0,), pa.concat_tables(video(name, cost_s=50.0) for name in "abcdefg"))
        waves.end_all()

    stream.run(plan)
    assert waves.begun == [3, 3, 1]
    assert (stream.known().num_videos, stream.known().work.cost_s) == (7, 350.0)


def test_planning_waits_where_it_is_far_ahead(tmp_path: Path, waves: Waves, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "_SEGMENTS_AT_ONCE", 2)
    stream, offered = new_flow(tmp_path, options=RunOptions(decode_workers=1)), threading.Semaphore(0)

    def plan() -> None:
        for name in "abcdef":
            stream.offer((0,), video(name))
            offered.release()

    def end_when_full() -> None:
        for _ in range(3):
            assert offered.acquire(timeout=PATIENCE_S)
        waves.end_all()

    ending = threading.Thread(target=end_when_full)
    ending.start()
    stream.run(plan)
    ending.join()
    assert sum(waves.begun) == 6


@pytest.mark.parametrize("where", ["planning", "planning alone", "a wave"])
def test_what_fails_ends_the_run_with_its_own_error(
    tmp_path: Path, waves: Waves, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    stream = new_flow(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise RunError("no space left")

    def plan() -> None:
        if where != "planning alone":
            stream.offer((0,), video("a"))
        if where != "a wave":
            fail()
        waves.wait_for_one()

    if where == "a wave":
        monkeypatch.setattr(dataflow, "run_extract", fail)
    with pytest.raises(RunError, match="no space left"):
        stream.run(plan)
    waves.end_all()
