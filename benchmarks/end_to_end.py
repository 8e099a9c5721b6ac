"""Archive to Parquet, the same samples and model for all: vidlake, what a user would pick instead, and the ceiling.

A contender's *steady state* leaves its start-up out: the further samples of a run over more files, over the further
time that it took. The *ceiling* is what the machine would give if it did nothing but decode and compute: the CPU
seconds of our decoding alone and of our model alone, over the cores. Where the model costs nothing, it is decoding's.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import first_file
from benchmarks.contenders import CONTENDERS, OURS, Contender, Outcome, Work, run, steady_per_s
from benchmarks.figures import Spread, in_turn, ratio, table
from benchmarks.footage import files_of, half_minutes
from benchmarks.processes import CORES, Environment, ask, why_not
from benchmarks.progress import Progress

CEILING = "ceiling"
WORKS = (
    Work(name="decode-bound, fps:1", rule="fps:1", is_free=True, files=(12, 36)),
    Work(name="decode-bound, fps:6", rule="fps:6", is_free=True, files=(12, 36)),
    Work(name="model-bound, fp32", rule="fps:6", files=(6, 15)),
    Work(name="model-bound, bf16 compiled", rule="fps:6", is_fast=True, files=(6, 18)),
)
QUICK = ("vidlake", "Ray's recipe, tuned")
"""Who takes part in the quick variant: the others take longer than it has."""


def has_bf16() -> bool:
    """Whether the CPU computes in ``bf16``; where torch has to emulate it, a hundredth of the speed is left."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def measure(
    archive: Path, *, peers: Environment, rounds: int, folder: Path, limit_s: float, is_quick: bool
) -> dict[str, Any]:
    """By work and contender, the figures of each round."""
    halves = half_minutes(archive, folder)
    works = [work for work in WORKS if has_bf16() or not work.is_fast]
    takers = {work.name: [each for each in CONTENDERS if _takes(each, work, is_quick=is_quick)] for work in works}
    absent = {each.name: reason for each in CONTENDERS if (reason := why_not(each.needs, _home(each, peers)))}
    steps = sum(1 + 2 * len(takers[work.name]) for work in works) + first_file.NUM_STEPS
    progress = Progress("end to end", rounds * steps)
    found: dict[str, Any] = {"works": {work.name: {"rounds": {}, "failed": {}} for work in works}}
    for number in range(rounds):
        for work in works:
            here = found["works"][work.name]
            here["failed"] |= {each.name: absent[each.name] for each in takers[work.name] if each.name in absent}
            here["rounds"].setdefault(CEILING, []).append(_ceiling(halves, work))
            progress.step(f"round {number + 1}, {work.name}: ceiling")
            for name in in_turn([each.name for each in takers[work.name]], number):
                contender = next(each for each in takers[work.name] if each.name == name)
                if name not in here["failed"]:
                    _take(contender, work, halves, here, peers=peers, folder=folder, limit_s=limit_s, progress=progress)
        found.setdefault("first_file", []).append(first_file.measure(halves, peers, folder, progress))
    found["left_out"] = [] if has_bf16() else ["model-bound, bf16 compiled"]
    return found


def _takes(contender: Contender, work: Work, *, is_quick: bool) -> bool:
    return contender.only in (None, work.name) and (not is_quick or contender.name in QUICK)


def _home(contender: Contender, peers: Environment) -> Environment:
    return peers if contender.module else Environment.own()


def _ceiling(halves: Path, work: Work) -> dict[str, float]:
    options = ["--no-model"] if work.is_free else []
    options += ["--precision", "bf16", "--compile"] if work.is_fast else []
    figures: dict[str, float] = ask("benchmarks.ceiling", [str(halves), work.rule, *options], Environment.own())
    return figures


def _take(
    contender: Contender,
    work: Work,
    halves: Path,
    here: dict[str, Any],
    *,
    peers: Environment,
    folder: Path,
    limit_s: float,
    progress: Progress,
) -> None:
    """A short and a long run, or why there are none."""
    runs: list[Outcome] = []
    for count in contender.files_of(work):
        files = files_of(halves, count, folder)
        command = contender.command(files, folder / "out", work, peers=peers)
        try:
            runs.append(run(command, folder / "out", limit_s=limit_s))
        except subprocess.TimeoutExpired:
            here["failed"][contender.name] = f"no end within {limit_s:g} s for {count} files"
        except (subprocess.SubprocessError, ValueError) as error:
            here["failed"][contender.name] = str(error).splitlines()[-1][:200] if str(error) else "no message"
        if contender.name in here["failed"]:
            here["rounds"].pop(contender.name, None)
            progress.step(f"{work.name}: {contender.name}: {here['failed'][contender.name]}")
            return
        progress.step(f"{work.name}: {contender.name}, {count} files: {runs[-1].wall_s:.1f} s")
    try:
        figures = _figures(contender, work, runs)
    except ValueError as error:
        here["failed"][contender.name] = f"no steady state: {error}"
        return
    here["rounds"].setdefault(contender.name, []).append(figures)


def _figures(contender: Contender, work: Work, runs: Sequence[Outcome]) -> dict[str, Any]:
    short, long = runs
    whole = short if work.is_free else long
    return {
        "files": contender.files_of(work)[runs.index(whole)],
        "samples": [run.samples for run in runs],
        "wall_s": whole.wall_s,
        "steady_per_s": steady_per_s(short, long),
    }


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The tables in Markdown."""
    for name, here in found["works"].items():
        yield from _table(name, here)
        yield ""
    for name in found["left_out"]:
        yield f"Left out: {name}, because this CPU does not compute in bf16.\n"
    yield from first_file.describe(found["first_file"])


def _table(name: str, here: dict[str, Any]) -> Iterator[str]:
    work = next(work for work in WORKS if work.name == name)
    num_files = work.files[0 if work.is_free else 1]
    columns = [name, f"whole, {num_files} files: s", "vidlake is faster, whole", "samples/s, steady"]
    rows = [_row(who, here["rounds"], num_files) for who in here["rounds"] if who != CEILING]
    tops = here["rounds"][CEILING]
    rows.append(["the ceiling", "", "", Spread.of([top["per_second"] for top in tops]).shown(), "", "1"])
    rows += [[who, "", "", "", "", reason.replace("|", "/")] for who, reason in here["failed"].items()]
    yield from table([*columns, "vidlake is faster, steady", "of the ceiling"], rows)
    yield _ceilings(work, tops)


def _row(name: str, rounds: dict[str, Any], num_files: int) -> list[str]:
    def figures(who: str, key: str) -> list[float]:
        return [each[key] for each in rounds[who]]

    def faster(key: str) -> str:
        return "" if name == OURS or OURS not in rounds else f"**{_ahead(rounds, name, key).shown(2)}**"

    walls, steady = Spread.of(figures(name, "wall_s")).shown(), Spread.of(figures(name, "steady_per_s")).shown()
    files = rounds[name][0]["files"]
    share = ratio(figures(name, "steady_per_s"), figures(CEILING, "per_second"))
    is_whole = files == num_files
    whole = [walls, faster("wall_s")] if is_whole else [f"{walls} for {files}", ""]
    return [name, *whole, steady, faster("steady_per_s"), share.shown(2)]


def _ahead(rounds: dict[str, Any], name: str, key: str) -> Spread:
    """How many times as fast as a contender vidlake is."""
    ours, its = ([each[key] for each in rounds[who]] for who in (OURS, name))
    return ratio(its, ours) if key == "wall_s" else ratio(ours, its)


def _ceilings(work: Work, tops: Sequence[dict[str, float]]) -> str:
    parts = ["decode", *([] if work.is_free else ["model"])]
    costs = [
        f"{part} {Spread.of([1000 * top[f'{part}_cpu_s'] / top['samples'] for top in tops]).shown(2)}" for part in parts
    ]
    return f"\nThe ceiling in CPU ms a sample, each alone: {', '.join(costs)}; {CORES} cores."
