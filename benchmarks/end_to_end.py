"""Archive to Parquet, the same samples and network for all: vidlake, what a user would pick instead, and the ceiling.

A run's *steady state* leaves its start-up out: of vidlake, the further samples of a run over several copies of the
archive, over the further time that it took; of Ray's recipe, what its model actor gave from its first batch to its
last. The *ceiling* is one process without Ray that uses all cores in turn: the CPU seconds of our decoding plus those
of our model, over the cores.
"""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.footage import copies_of, link, videos_of
from benchmarks.processes import CORES, Environment, Watched, ask, is_installed

RULE = "fps:6"
MODEL = ("--model", "resnet18", "--weights", "random:0")
PEERS = {
    "Ray's recipe": ("ray_recipe", "decord"),
    "Daft": ("daft_recipe", "daft"),
    "OpenCV loop": ("opencv_loop", "cv2"),
}
FAST = ("--precision", "bf16", "--compile")
WAYS = {"fp32": (), "bf16 compiled": FAST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What one ``vidlake extract`` did; seconds from the command on."""

    samples: int
    wall_s: float
    first_batch_s: float
    first_file_s: float
    stages: dict[str, Any]
    driver_bytes: int
    """The most that the driver had for itself (Private_Dirty)."""


def extract(inputs: Sequence[Path], out: Path, *options: str, rule: str = RULE) -> Extracted:
    """Run the command into an empty folder.

    Raises:
        subprocess.SubprocessError: it failed.
    """
    shutil.rmtree(out, ignore_errors=True)
    words = [*map(str, inputs), "--out", str(out), "--sample", rule, *MODEL, *options, "--json"]
    began = time.time()
    with Watched([sys.executable, "-m", "pipeline", "extract", *words]) as run:
        answer = json.loads(run.wait())
    wall_s = time.time() - began
    [report] = (json.loads(path.read_text()) for path in (out / "_vidlake/runs").glob("*.json"))
    stages = report["stages"]
    first_batch = min(worker["stretches"][0][0] for worker in stages["embed"]["workers"].values())
    first_file = min(path.stat().st_mtime for path in (out / "features").glob("*.parquet"))
    return Extracted(
        samples=answer["num_samples"],
        wall_s=wall_s,
        first_batch_s=first_batch - began,
        first_file_s=first_file - began,
        stages=stages,
        driver_bytes=run.most_private_bytes,
    )


def steady_per_s(short: Extracted, long: Extracted) -> float:
    """Samples a second of what ``long`` did beyond ``short``."""
    return (long.samples - short.samples) / (long.wall_s - short.wall_s)


def has_bf16() -> bool:
    """Whether the CPU computes in ``bf16``; where torch has to emulate it, a hundredth of the speed is left."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def measure(archive: Path, *, peers: Environment, rounds: int, folder: Path, peer_limit_s: float) -> dict[str, Any]:
    """Everything that ``describe`` shows."""
    found: dict[str, Any] = {"ways": {}, "peers": {}, "rule": RULE}
    for way, options in WAYS.items():
        if options == FAST and not has_bf16():
            continue
        num_copies = 3 if way == "fp32" else 9
        rows = [_one_round(archive, options, num_copies, folder) for _ in range(rounds)]
        found["ways"][way] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(f"    {found['ways'][way]}", flush=True)
    for name, (module, needs) in PEERS.items():
        if not is_installed(needs, peers):
            continue
        print(f"  end to end: {name}", flush=True)
        out = folder / "peer"
        shutil.rmtree(out, ignore_errors=True)
        began = time.time()
        try:
            words = [str(archive), str(out), RULE]
            answer = ask(f"benchmarks.peers.{module}", words, peers, limit_s=peer_limit_s)
            found["peers"][name] = {**answer, "wall_s": time.time() - began}
        except subprocess.TimeoutExpired:
            found["peers"][name] = {"failed": f"no end within {peer_limit_s:g} s"}
        except subprocess.SubprocessError as error:
            found["peers"][name] = {"failed": str(error)}
        print(f"    {found['peers'][name]}", flush=True)
    found["start"] = start_up(archive, folder)
    return found


def _one_round(archive: Path, options: Sequence[str], num_copies: int, folder: Path) -> dict[str, float]:
    """The ceiling between the short and the long run, all within minutes of each other."""
    print(f"  end to end: vidlake {' '.join(options) or 'fp32'}", flush=True)
    short = extract([archive], folder / "lake", *options)
    top = ask("benchmarks.ceiling", [str(archive), RULE, *options], Environment.own())
    long = extract([copies_of(archive, num_copies, folder)], folder / "lake", *options)
    steady = steady_per_s(short, long)
    return {
        "samples": short.samples,
        "wall_s": short.wall_s,
        "first_batch_s": short.first_batch_s,
        "first_file_s": short.first_file_s,
        "steady_per_s": steady,
        "ceiling_per_s": top["per_second"],
        "decode_cpu_s": top["decode_cpu_s"],
        "model_cpu_s": top["model_cpu_s"],
        "of_ceiling": steady / top["per_second"],
    }


def start_up(archive: Path, folder: Path) -> dict[str, float]:
    """Command to first published file, of ten clips, beside what Ray and the model's imports take by themselves."""
    clips = folder / "ten"
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir(parents=True)
    source = min(videos_of(archive), key=lambda path: path.stat().st_size)
    for number in range(10):
        link(source, clips / f"clip_{number}{source.suffix}")
    rows = []
    for _ in range(3):
        ray_s = ask("benchmarks.start_up", ["ray"], Environment.own())["seconds"]
        imports_s = ask("benchmarks.start_up", ["model"], Environment.own())["seconds"]
        run = extract([clips], folder / "lake", rule="fps:1")
        beyond_s = run.first_file_s - ray_s - imports_s
        rows.append({"first_file_s": run.first_file_s, "ray_s": ray_s, "imports_s": imports_s, "beyond_s": beyond_s})
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The tables in Markdown."""
    yield f"| archive to Parquet, resnet18, {found['rule']} | wall s | samples/s, steady | of the ceiling |"
    yield "|---|---|---|---|"
    for way, row in found["ways"].items():
        steady, top = f"{row['steady_per_s']:.1f}", f"{row['ceiling_per_s']:.1f}"
        yield f"| vidlake, {way} | {row['wall_s']:.0f} | {steady} | **{row['of_ceiling']:.2f}** of {top} |"
    for name, row in found["peers"].items():
        if "failed" in row:
            yield f"| {name} | {row['failed']} | | |"
        else:
            yield f"| {name}, fp32 | {row['wall_s']:.0f} | {row['steady_per_s']:.1f} | |"
    recipe = found["peers"].get("Ray's recipe", {})
    if "wall_s" in recipe:
        for way, row in found["ways"].items():
            whole, steady = recipe["wall_s"] / row["wall_s"], row["steady_per_s"] / recipe["steady_per_s"]
            yield f"\nvidlake {way} / Ray's recipe: whole runs **{whole:.1f}**, steady **{steady:.1f}**."
    start = found["start"]
    yield (
        f"\nTen clips, command to first published file: {start['first_file_s']:.1f} s, of which `ray.init` alone "
        f"takes {start['ray_s']:.1f} s and the model's imports {start['imports_s']:.1f} s: "
        f"**{start['beyond_s']:.1f} s** beyond them ({CORES} cores)."
    )
