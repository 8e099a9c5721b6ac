"""Running the command as users do, and reading back what it wrote."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import command
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

MODEL = ["--model", "video_cnn", "--weights", "random:0"]
TOLERANCE = 1e-5


def vidlake(*words: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = command.vidlake(*words)
    assert done.returncode == status, f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr
    return done


def joining(address: str, *, place: str) -> list[str]:
    """Words with which a run joins a Ray that is there; one into a bucket needs its variables in a Ray of its own."""
    return [] if "://" in place else ["--address", address]


def started(
    *words: object, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def kill(run: "subprocess.Popen[str]", *, whole: bool) -> None:
    """SIGKILL for the driver alone, or for the whole job."""
    if whole:
        os.killpg(run.pid, signal.SIGKILL)
    else:
        run.kill()
    run.wait()


def table(out: Path, name: str) -> pa.Table:
    return pads.dataset(out / name, format="parquet").to_table()


def features(out: Path) -> dict[tuple[str, int], list[float]]:
    rows = table(out, "features").select(["uri", "pts", "feature"]).to_pylist()
    keyed = {(Path(row["uri"]).name, row["pts"]): row["feature"] for row in rows}
    assert len(keyed) == len(rows), "a sample is there twice"
    return keyed


def statuses(out: Path) -> dict[str, str]:
    return {Path(row["uri"]).name: row["status"] for row in table(out, "videos").to_pylist()}


def assert_same(a: dict[tuple[str, int], list[float]], b: dict[tuple[str, int], list[float]]) -> None:
    assert a.keys() == b.keys()
    assert all(np.allclose(a[key], b[key], atol=TOLERANCE) for key in a)
