"""How time and memory grow: with the archive, and with a video's length. With many videos: ``benchmarks.scale``."""

import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import FAST
from benchmarks.end_to_end import has_bf16
from benchmarks.footage import copies_of, link, repeated, videos_of
from benchmarks.processes import Watched

_TIMES = (1, 2, 4, 8)
_WAY = FAST if has_bf16() else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What one ``vidlake extract`` did."""

    samples: int
    wall_s: float
    stages: dict[str, Any]
    """From the run's report."""
    driver_bytes: int
    """The most that the driver had for itself (Private_Dirty)."""


def extract(inputs: Sequence[Path], out: Path, *options: str, rule: str = "fps:6") -> Extracted:
    """Run the command into an empty folder.

    Raises:
        subprocess.SubprocessError: it failed.
    """
    shutil.rmtree(out, ignore_errors=True)
    model = ("--model", "resnet18", "--weights", "random:0")
    words = [*map(str, inputs), "--out", str(out), "--sample", rule, *model, *options, "--json"]
    began_s = time.monotonic()
    with Watched([sys.executable, "-m", "pipeline", "extract", *words]) as run:
        answer = json.loads(run.wait())
    wall_s = time.monotonic() - began_s
    [report] = (json.loads(path.read_text()) for path in (out / "_vidlake/runs").glob("*.json"))
    return Extracted(
        samples=answer["num_samples"],
        wall_s=wall_s,
        stages=report["stages"],
        driver_bytes=run.most_private_bytes,
    )


def measure(archive: Path, *, folder: Path, hours: float) -> dict[str, Any]:
    """Everything that ``describe`` shows."""
    found: dict[str, Any] = {"archive": {}}
    for times in _TIMES:
        print(f"  growth: {times} times the archive", flush=True)
        run = extract([copies_of(archive, times, folder)], folder / "lake", *_WAY)
        found["archive"][times] = {"samples": run.samples, "wall_s": run.wall_s} | _memory(run)
    found |= _line(found["archive"])
    found["length"] = _one_against_many(archive, folder, hours=hours)
    return found


def _line(runs: dict[int, dict[str, Any]]) -> dict[str, float]:
    """The straight line through the runs' times, and how far the worst of them is from it."""
    samples = np.array([run["samples"] for run in runs.values()])
    walls = np.array([run["wall_s"] for run in runs.values()])
    slope, start_up_s = np.polyfit(samples, walls, 1)
    off = np.abs(start_up_s + slope * samples - walls) / walls
    return {"start_up_s": float(start_up_s), "per_s": float(1 / slope), "worst_off": float(off.max())}


def _one_against_many(archive: Path, folder: Path, *, hours: float) -> dict[str, Any]:
    """The same footage in one file and in files of a minute."""
    source = videos_of(archive)[0]
    parts, whole = folder / "parts", folder / "whole"
    for place in (parts, whole):
        place.mkdir(parents=True, exist_ok=True)
    minute = repeated(source, folder / "minute.mp4", seconds=60)
    count = round(60 * hours)
    for number in range(count):
        link(minute, parts / f"part_{number:03d}.mp4")
    repeated(minute, whole / "whole.mp4", seconds=3600 * hours)
    print(f"  growth: one file of {hours:g} hours, and {count} of a minute", flush=True)
    runs = {name: extract([folder / name], folder / "lake", *_WAY, rule="fps:1") for name in ("whole", "parts")}
    rows: dict[str, Any] = {
        name: {"samples": run.samples, "wall_s": run.wall_s} | _memory(run) for name, run in runs.items()
    }
    per_s = {name: row["samples"] / row["wall_s"] for name, row in rows.items()}
    return {"hours": hours, "files": count, **rows, "ratio": per_s["parts"] / per_s["whole"]}


def _memory(run: Extracted) -> dict[str, float]:
    """Private bytes at their highest, and bytes handed from stage to stage a sample."""
    most = {
        stage: max(worker["private_bytes"] for worker in run.stages[stage]["workers"].values())
        for stage in ("decode", "embed")
    }
    handed_on = sum(run.stages[stage]["num_bytes"] for stage in most)
    return {
        "driver_bytes": run.driver_bytes,
        "decode_worker_bytes": most["decode"],
        "model_actor_bytes": most["embed"],
        "bytes_per_sample": handed_on / max(1, run.samples),
    }


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The tables in Markdown."""
    way = " ".join(_WAY) or "fp32"
    yield f"| {way}, fps:6 | samples | wall s | driver MB | decode worker MB | model actor MB | bytes a sample |"
    yield "|---|---|---|---|---|---|---|"
    rows = {f"{times} times the archive": row for times, row in found["archive"].items()}
    length = found["length"]
    rows[f"one file of {length['hours']:g} h, fps:1"] = length["whole"]
    rows[f"{length['files']} files of a minute, fps:1"] = length["parts"]
    for name, row in rows.items():
        sizes = " | ".join(
            f"{row[key] / 1e6:.0f}" for key in ("driver_bytes", "decode_worker_bytes", "model_actor_bytes")
        )
        yield f"| {name} | {row['samples']} | {row['wall_s']:.0f} | {sizes} | {row['bytes_per_sample']:,.0f} |"
    yield (
        f"\nTime is {found['start_up_s']:.0f} s and a second for {found['per_s']:.0f} samples, the worst run "
        f"{found['worst_off']:.0%} off; one long file takes **{length['ratio']:.2f}** of the time of the same footage "
        "in many."
    )
