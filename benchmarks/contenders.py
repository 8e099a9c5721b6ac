"""Ways from an archive to Parquet: the command of each, and one run of it seen from outside."""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.free_model import NAME as FREE_MODEL
from benchmarks.processes import Environment, Watched

OURS = "vidlake"
FAST = ("--precision", "bf16", "--compile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is asked of every contender."""

    name: str
    rule: str
    is_free: bool = False
    """A model that costs nothing, instead of resnet18."""
    is_fast: bool = False
    """The model in bf16, compiled."""
    files: tuple[int, int]
    """How many files of half a minute the short and the long run have."""

    @property
    def is_model_bound(self) -> bool:
        """Whether the model is what costs."""
        return not self.is_free


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A way; peers are modules of ``benchmarks.peers``."""

    name: str
    module: str | None = None
    needs: str = "json"
    files: tuple[int, int] | None = None
    """How many files it gets instead, being slow."""
    only: str | None = None
    """The name of the only work that it is asked for."""

    def files_of(self, work: Work) -> tuple[int, int]:
        """Of the short and the long run."""
        return self.files or work.files

    def command(self, archive: Path, out: Path, work: Work, *, peers: Environment) -> list[str]:
        """Its words."""
        if self.module is not None:
            options = [*(["--free"] if work.is_free else []), *(["--fast"] if work.is_fast else [])]
            words = [f"benchmarks.peers.{self.module}", str(archive), str(out), work.rule, *options]
            return [str(peers.python), "-m", *words]
        model = ["--model", FREE_MODEL if work.is_free else "resnet18", "--weights", "random:0"]
        words = ["extract", str(archive), "--out", str(out), "--sample", work.rule, *model]
        return [sys.executable, "-m", "pipeline", *words, *(FAST if work.is_fast else ()), "--json"]


CONTENDERS = (
    Contender(name=OURS),
    Contender(name="Ray's recipe, tuned", module="tuned_recipe", needs="decord"),
    Contender(name="Ray's recipe, plain", module="ray_recipe", needs="decord", files=(1, 3)),
    Contender(name="OpenCV loop", module="opencv_loop", needs="cv2", files=(1, 3), only="model-bound, fp32"),
    Contender(name="Daft", module="daft_recipe", needs="daft", files=(1, 3), only="model-bound, fp32"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run of a command, start-up and all; seconds from the command on."""

    samples: int
    wall_s: float
    first_file_s: float
    """Until the first Parquet file with rows had its name."""
    driver_cpu_s: float
    """CPU seconds of the first process alone."""
    driver_bytes: int
    """The most that the first process had for itself (Private_Dirty)."""


def run(command: Sequence[str], out: Path, *, limit_s: float | None = None) -> Outcome:
    """Run a command that writes Parquet under ``out``, an empty folder, and prints ``num_samples`` as JSON.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than ``limit_s``.
    """
    shutil.rmtree(out, ignore_errors=True)
    began = time.time()
    with Watched(command) as watched:
        answer = watched.wait(limit_s=limit_s)
        wall_s = time.time() - began
    folder = out / "features" if (out / "features").is_dir() else out
    first = min(path.stat().st_mtime for path in folder.rglob("*.parquet"))
    return Outcome(
        samples=json.loads(answer[answer.index("{") :])["num_samples"],
        wall_s=wall_s,
        first_file_s=first - began,
        driver_cpu_s=watched.cpu_s,
        driver_bytes=watched.most_private_bytes,
    )


def steady_per_s(short: Outcome, long: Outcome) -> float:
    """Samples a second of what the long run did beyond the short one: start-up is in both.

    Raises:
        ValueError: the long run had no more to do, or took no longer; there is no such figure.
    """
    samples, seconds = long.samples - short.samples, long.wall_s - short.wall_s
    if samples <= 0 or seconds <= 0:
        raise ValueError(f"{samples} samples in {seconds:.1f} s")
    return samples / seconds
