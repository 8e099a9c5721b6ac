"""A run that is killed, whatever of it and whenever, is gone on with: every sample is there once."""

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from conftest import ClipFactory
from lakes import MODEL, assert_same, features, kill, started, table, vidlake
from patience import PATIENCE_S

pytestmark = pytest.mark.slow

HOW = [*MODEL, "--sample", "all", "--segment-seconds", "1", "--rows-per-file", "50"]
NUM_ROWS = 6 * 100


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, clips: ClipFactory) -> Path:
    """Six videos of 4 s."""
    folder = tmp_path_factory.mktemp("archive")
    for index in range(6):
        os.link(clips(num_frames=100, gop=25, seed=index), folder / f"{index}.mp4")
    return folder


@pytest.fixture(scope="module")
def calm(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """What a run makes of it that nothing happens to, and how many seconds that takes."""
    out, began = tmp_path_factory.mktemp("calm") / "lake", time.monotonic()
    vidlake("extract", archive, "--out", out, *HOW)
    return out, time.monotonic() - began


def num_rows(out: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (out / "features").glob("*.parquet"))


def has(out: Path, pattern: str) -> bool:
    return any(out.glob(pattern))


PHASES: dict[str, Callable[[Path], bool]] = {
    "planning": lambda out: has(out, "_vidlake/leases/*.json") and not has(out, "_vidlake/plan/*"),
    "decoding": lambda out: has(out, "_vidlake/plan/*") and not has(out, "features/*"),
    "committing": lambda out: num_rows(out) > 0,
    "deriving": lambda out: num_rows(out) == NUM_ROWS,
}
ROWS_AT_THE_KILL = {
    "planning": range(1),
    "decoding": range(NUM_ROWS),
    "committing": range(1, NUM_ROWS + 1),
    "deriving": range(NUM_ROWS, NUM_ROWS + 1),
}
"""A decoder or a commit that is under way may end between the look and the kill."""


def of_ray(driver: int, title: str) -> psutil.Process | None:
    """The first process below the driver with these words in its command line."""
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if title in " ".join(process.cmdline()):
                return process
    return None


@pytest.mark.parametrize(
    ("phase", "victim"),
    [
        pytest.param("planning", "the whole job", marks=pytest.mark.soak),
        pytest.param("decoding", "the driver alone", marks=pytest.mark.soak),
        pytest.param("committing", "the whole job", marks=pytest.mark.soak),
        pytest.param("decoding", "a worker", marks=pytest.mark.soak),
        ("committing", "the raylet"),
        pytest.param("deriving", "the driver alone", marks=pytest.mark.soak),
    ],
)
def test_killed_run_resumes_without_duplicates(
    archive: Path, calm: tuple[Path, float], tmp_path: Path, shared_ray: str, *, phase: str, victim: str
) -> None:
    out = tmp_path / "lake"
    run = started("extract", archive, "--out", out, *HOW)
    with gone_at_the_end(run.pid):
        while run.poll() is None and not PHASES[phase](out):
            time.sleep(0.01)
        assert run.poll() is None, "nothing was interrupted"
        if victim in ("the whole job", "the driver alone"):
            kill(run, whole=victim == "the whole job")
            reports = [json.loads(path.read_text()) for path in (out / "_vidlake" / "runs").glob("*.json")]
            assert [report["state"] for report in reports] == ["running"] or phase == "planning", (
                "it says what was done"
            )
        else:
            title = "ray::MapBatches(decode_and_embed)" if victim == "a worker" else "raylet/raylet"
            while (process := of_ray(run.pid, title)) is None:
                assert run.poll() is None, "nothing was interrupted"
            process.kill()
        assert num_rows(out) in ROWS_AT_THE_KILL[phase]
        if victim == "a worker":
            assert run.wait(timeout=PATIENCE_S) == 0, "a worker is replaced"
        elif victim == "the raylet":
            run.wait(timeout=PATIENCE_S)  # fails, or had done all but the end
        vidlake("extract", archive, "--out", out, *HOW, "--address", shared_ray)
        assert_same(features(out), features(calm[0]))


def test_run_killed_at_any_moments_ends_like_one_that_was_not(
    archive: Path, calm: tuple[Path, float], tmp_path: Path, shared_ray: str
) -> None:
    seed = time.time_ns()
    rng, out = random.Random(seed), tmp_path / "lake"
    lake, calm_s = calm
    for whole in (True, False):
        run = started("extract", archive, "--out", out, *HOW)
        with gone_at_the_end(run.pid):
            time.sleep(rng.uniform(0.1, 0.95) * calm_s)
            kill(run, whole=whole)
    vidlake("extract", archive, "--out", out, *HOW, "--address", shared_ray)
    assert features(out).keys() == features(lake).keys(), f"seed {seed}"
    assert_same(features(out), features(lake))


@pytest.mark.parametrize(
    "whole",
    [pytest.param(True, id="the whole job"), pytest.param(False, id="the driver alone", marks=pytest.mark.soak)],
)
def test_killed_run_of_several_models_ends_with_each_sample_once_in_each_dataset(
    archive: Path, tmp_path: Path, shared_ray: str, whole: bool
) -> None:
    """Killed once some of it is committed somewhere, whatever has been committed elsewhere by then."""
    out = tmp_path / "lake"
    names = ("video_cnn", "mobilenet_v3_small")
    models = [word for name in names for word in ("--model", f"{name}=random:0")]
    how = [*models, "--sample", "fps:5", "--segment-seconds", "1", "--rows-per-file", "10", "--thumbnails", "32"]
    run = started("extract", archive, "--out", out, *how)
    with gone_at_the_end(run.pid):
        while run.poll() is None and not any(num_rows(out / name) for name in names):
            time.sleep(0.01)
        assert run.poll() is None, "nothing was interrupted"
        kill(run, whole=whole)
        told = json.loads(vidlake("extract", archive, "--out", out, *how, "--address", shared_ray, "--json").stdout)
    assert [told["models"][name]["totals"]["videos"]["ok"] for name in names] == [6, 6]
    rows = [table(out / name, "features") for name in names] + [table(out, "thumbnails")]
    keys = [sorted(zip(each["uri"].to_pylist(), each["pts"].to_pylist(), strict=True)) for each in rows]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == len(set(keys[0])) == 6 * 20


@contextlib.contextmanager
def gone_at_the_end(group: int) -> Iterator[None]:
    """What a killed driver left of its run is ended, whatever the test comes to."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
