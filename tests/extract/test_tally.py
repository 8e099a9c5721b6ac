"""Counting what workers did."""

import os
import subprocess
import sys
import time

import pytest

from pipeline.extract.tally import (
    Counts,
    LocalTally,
    StageProgress,
    Worked,
    WorkerReport,
    bottleneck,
    private_bytes,
    this_worker,
)


def worked(began: float, ended: float, *, worker: str = "w", num_samples: int = 0) -> Worked:
    counts = Counts(num_samples=num_samples, video_s=2.0)
    return Worked(stage="decode", worker=worker, began=began, ended=ended, counts=counts)


def test_totals_and_busy_times_add_up() -> None:
    tally = LocalTally()
    for piece in (worked(0, 1, num_samples=3), worked(1.5, 2, num_samples=4), worked(9, 10, worker="v")):
        tally.add(piece)
    decode = tally.reports()["decode"]
    assert decode.counts == Counts(num_samples=7, video_s=6.0)
    assert decode.workers["w"] == WorkerReport(stretches=((0, 2),), busy_s=1.5, private_bytes=0)
    assert tally.progress().decode == StageProgress(counts=decode.counts, busy_s=2.5)
    assert tally.progress().embed == StageProgress()
    assert list(tally.reports()) == ["decode"], "a stage that has done nothing is not told of"


@pytest.mark.parametrize(
    ("pieces", "stretches", "busy_s"),
    [
        pytest.param([(0, 1), (1.9, 3)], [[0, 3]], 2.1, id="a-short-pause-is-none"),
        pytest.param([(0, 1), (2, 3)], [[0, 1], [2, 3]], 2, id="a-long-pause-is-one"),
        pytest.param([(5, 6), (4, 5)], [[4, 6]], 2, id="late-news"),
        pytest.param([(0, 9), (1, 2)], [[0, 9]], 9, id="within"),
        pytest.param([(0, 2), (1, 3), (2, 4), (3.5, 5)], [[0, 5]], 5, id="two-at-once"),
    ],
)
def test_work_without_a_pause_is_one_stretch_and_busy_once(
    pieces: list[tuple[float, float]], stretches: list[list[float]], busy_s: float
) -> None:
    tally = LocalTally()
    for began, ended in pieces:
        tally.add(worked(began, ended))
    worker = tally.reports()["decode"].workers["w"]
    assert [list(each) for each in worker.stretches] == stretches
    assert worker.busy_s == pytest.approx(busy_s)


def test_a_days_report_stays_small() -> None:
    tally = LocalTally()
    for at in range(86_400):
        tally.add(worked(at, at + 0.9))
    assert len(tally.reports()["decode"].workers["w"].stretches) == 1


def test_bottleneck_is_the_model_where_its_actors_are_always_busy() -> None:
    now = time.time()
    tally = LocalTally()
    assert bottleneck(tally.progress(), elapsed_s=10, num_actors=1) is None
    tally.add(worked(now - 10, now))
    assert bottleneck(tally.progress(), elapsed_s=10, num_actors=1) == "decode"
    tally.add(Worked(stage="embed", worker="m", began=now - 9.5, ended=now))
    assert bottleneck(tally.progress(), elapsed_s=10, num_actors=1) == "model"
    assert bottleneck(tally.progress(), elapsed_s=10, num_actors=2) == "decode"


def test_private_memory_is_counted_and_a_dead_process_has_none() -> None:
    block = bytearray(os.urandom(1 << 20) * 30)
    assert private_bytes(os.getpid()) > len(block)
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert private_bytes(child.pid, None) == 0
    assert this_worker().endswith(f":{os.getpid()}")
