"""Command to first published file of ten clips, beside what Ray and the model's imports take by themselves."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS as ALL
from benchmarks.contenders import OURS, Work, run
from benchmarks.figures import Spread, table
from benchmarks.footage import files_of
from benchmarks.processes import CORES, Environment, ask
from benchmarks.progress import Progress

CONTENDERS = tuple(each for each in ALL if each.name in (OURS, "Ray's recipe, tuned"))
NUM_STEPS = 2 + len(CONTENDERS)
_WORK = Work(name="ten clips", rule="fps:1", files=(10, 10))


def measure(halves: Path, peers: Environment, folder: Path, progress: Progress) -> dict[str, Any]:
    """One round: seconds."""
    clips = files_of(halves, 10, folder)
    figures: dict[str, Any] = {}
    for what in ("ray", "model"):
        figures[what] = ask("benchmarks.start_up", [what], Environment.own())["seconds"]
        progress.step(f"ten clips: {what} alone, {figures[what]:.1f} s")
    for contender in CONTENDERS:
        command = contender.command(clips, folder / "out", _WORK, peers=peers)
        try:
            figures[contender.name] = run(command, folder / "out").first_file_s
        except subprocess.SubprocessError as error:
            figures[contender.name] = str(error)[:200]
        progress.step(f"ten clips: {contender.name}, first file: {figures[contender.name]}")
    shutil.rmtree(folder / "out", ignore_errors=True)
    return figures


def describe(rounds: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The table in Markdown."""
    alone = [each["ray"] + each["model"] for each in rounds]
    rows = []
    for contender in CONTENDERS:
        firsts = [each[contender.name] for each in rounds]
        if all(isinstance(first, float) for first in firsts):
            beyond = Spread.of([first - each for first, each in zip(firsts, alone, strict=True)])
            rows.append([contender.name, Spread.of(firsts).shown(), f"**{beyond.shown()}**"])
        else:
            rows.append([contender.name, "failed", str(next(each for each in firsts if isinstance(each, str)))])
    yield from table(["ten clips, resnet18, `fps:1`", "first file after s", "beyond Ray and the model's import"], rows)
    ray, model = (Spread.of([each[what] for each in rounds]).shown() for what in ("ray", "model"))
    yield f"\n`ray.init` alone takes {ray} s, loading the model with its imports {model} s; {CORES} cores."
