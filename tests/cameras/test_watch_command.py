"""``vidlake watch`` as a user runs it: a process of its own, its output, its exit status, and what it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import vidlake
from conftest import ClipFactory
from patience import PATIENCE_S

from pipeline.lake.live import readers

MODEL = ["--model", "video_cnn", "--weights", "random:0", "--stall-seconds", str(PATIENCE_S), "--sample", "fps:5"]


class Command:
    """A running ``vidlake watch --json``."""

    def __init__(self, process: "subprocess.Popen[str]", out: Path) -> None:
        self.process = process
        self.out = out

    def labels(self) -> list[str]:
        lines = [json.loads(line) for line in self.out.read_text().splitlines() if line.endswith("}")]
        return [line["label"] for line in lines if line["type"] == "stream_state"]

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@contextmanager
def command(work: Path, *words: object) -> Iterator[Command]:
    out = work / "out.jsonl"
    with out.open("w") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "watch", "--json", *map(str, words)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    try:
        yield Command(process, out)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
def test_a_file_is_watched_to_its_end(tmp_path: Path, clips: ClipFactory, shared_ray: str) -> None:
    clip = clips(num_frames=100)
    done = vidlake(
        "watch", f"file:{clip}", "--name", "gate", "--out", tmp_path / "lake", *MODEL,
        "--events", tmp_path / "events.jsonl", "--json", "--address", shared_ray,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]

    assert (done.returncode, done.stderr) == (0, "")
    assert [line["label"] for line in lines] == ["connecting", "playing", "stopped"]
    assert lines[-1]["value"] == {"reason": "ended"}
    assert (tmp_path / "events.jsonl").read_text() == done.stdout
    assert [stored.num_samples for stored in readers.sessions(str(tmp_path / "lake"))] == [20]
    assert readers.gaps(str(tmp_path / "lake")) == []


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        pytest.param(signal.SIGINT, 130, "interrupted", id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, "terminated", id="sigterm", marks=pytest.mark.soak),
    ],
)
@pytest.mark.slow
def test_a_signal_ends_it_in_order(
    tmp_path: Path, clips: ClipFactory, number: signal.Signals, status: int, says: str
) -> None:
    clip, lake = clips(num_frames=1500, fps=5), tmp_path / "lake"
    with command(tmp_path, f"file:{clip}", "--name", "gate", "--out", lake, *MODEL) as watch:
        watch.until(lambda: "playing" in watch.labels())
        time.sleep(2)
        watch.process.send_signal(number)
        _, err = watch.process.communicate(timeout=PATIENCE_S)
        labels = watch.labels()

    assert watch.process.returncode == status
    assert err.startswith(f"vidlake: {says}; what came in is committed")
    assert labels == ["connecting", "playing", "stopped"]
    [stored] = readers.sessions(str(lake))
    assert stored.status != "live"
    assert stored.num_samples > 0


@pytest.mark.slow
def test_a_second_writer_of_the_stream_or_another_model_is_refused(
    tmp_path: Path, clips: ClipFactory, shared_ray: str
) -> None:
    clip, lake = f"file:{clips(num_frames=1500, fps=5)}", tmp_path / "lake"
    with command(tmp_path, clip, "--name", "gate", "--out", lake, *MODEL) as watch:
        watch.until(lambda: "playing" in watch.labels())
        same = vidlake("watch", clip, "--name", "gate", "--out", lake, *MODEL, "--address", shared_ray)
        other = vidlake("watch", clip, "--name", "door", "--out", lake, *MODEL[:-1], "fps:2")
        watch.process.send_signal(signal.SIGINT)
        watch.process.communicate(timeout=PATIENCE_S)

    for refused in (same, other):
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
    assert "--sample is fps:5" in other.stderr
    assert len(readers.sessions(str(lake))) == 1


@pytest.mark.slow
def test_after_so_many_seconds_it_ends_by_itself(tmp_path: Path, clips: ClipFactory, shared_ray: str) -> None:
    clip, lake = clips(num_frames=1500, fps=5), tmp_path / "lake"
    how = [*MODEL, "--seconds", "2", "--address", shared_ray]
    done = vidlake("watch", f"file:{clip}", "--name", "gate", "--out", lake, *how)
    lines = done.stdout.splitlines()

    assert done.returncode == 0
    assert [line.split("  ")[1:3] for line in lines] == [
        ["gate", word] for word in ("connecting", "playing", "stopped")
    ]
    assert "gate: " in done.stderr
    assert 0 < readers.sessions(str(lake))[0].num_samples < 60


@pytest.mark.slow
def test_a_model_that_is_not_there_is_one_line(tmp_path: Path, shared_ray: str) -> None:
    how = ["--model", "no_such_model", "--address", shared_ray]
    done = vidlake("watch", "rtsp://127.0.0.1:9/cam", "--out", tmp_path / "lake", *how)

    assert done.returncode == 2
    assert "no_such_model" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "lake").exists()


@pytest.mark.soak
def test_eight_streams_at_a_sample_a_second_drop_nothing_on_two_cores(tmp_path: Path, clips: ClipFactory) -> None:
    """With the default model, whose weights are real; on a machine that does nothing else."""
    clip, lake = clips(num_frames=1500, width=1280, height=720), str(tmp_path / "lake")
    names = [f"camera-{number}" for number in range(8)]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
    watch = [sys.executable, "-m", "pipeline", "watch", *(f"file:{clip}" for _ in names), "--out", lake]
    words = [word for name in names for word in ("--name", name)]
    done = subprocess.run(
        ["taskset", "--cpu-list", cores, *watch, *words], capture_output=True, text=True, check=False, timeout=500
    )

    assert done.returncode == 0, done.stderr
    assert readers.gaps(lake) == []
    assert [stored.num_samples for stored in readers.sessions(lake)] == [60] * 8
