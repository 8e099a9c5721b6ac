"""What a cluster needs and costs, for docs/cluster.md: from the tables of the same run, and nothing else."""

from collections.abc import Iterator
from typing import Any

from benchmarks.contenders import OURS
from benchmarks.end_to_end import CEILING, WORKS
from benchmarks.figures import Spread, table

_HOURS = 1_000
_CORES_PER_NODE = 16


def video_hours_a_day(samples_per_s: float, *, samples_per_video_s: float, units: float) -> float:
    """Hours of video that one unit (a core, a GPU) does in a day, from the samples a second of all ``units``."""
    return 24 * samples_per_s / samples_per_video_s / units


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The table in Markdown, and what follows from it."""
    cores = found["cores"]
    rows, needs = [], []
    for work in WORKS:
        here = found["end_to_end"]["works"].get(work.name, {"rounds": {}})["rounds"]
        if OURS not in here:
            continue
        rate = float(work.rule.removeprefix("fps:"))
        days = {
            name: [video_hours_a_day(each[key], samples_per_video_s=rate, units=cores) for each in here[name]]
            for name, key in ((OURS, "steady_per_s"), (CEILING, "per_second"))
        }
        core_hours = 24 * _HOURS / Spread.of(days[OURS]).median
        what = "decoding, for a GPU elsewhere" if work.is_free else "decoding and resnet18 on the same cores"
        what += ", bf16 compiled" if work.is_fast else ""
        cells = [f"`{work.rule}`: {what}", Spread.of(days[OURS]).shown(0), Spread.of(days[CEILING]).shown(0)]
        rows.append([*cells, f"{core_hours:,.0f}"])
        needs.append(
            f"{what} at `{work.rule}`: {core_hours / _CORES_PER_NODE:.1f} h of a node of {_CORES_PER_NODE} cores"
        )
    yield from table(
        ["720p H.264", "hours of video a day and core", "the same without Ray", f"core-hours for {_HOURS:,} hours"],
        rows,
    )
    yield f"\nMeasured on {cores} cores ({found['cpu']}); {_HOURS:,} hours of video take, " + "; ".join(needs) + "."
    gpu = found.get("gpu")
    if gpu is None:
        yield "\nHours of video a day and GPU: no GPU was measured. `python -m benchmarks.gpu` measures one."
        return
    yield ""
    yield from _gpus(gpu)


def _gpus(gpu: dict[str, Any]) -> Iterator[str]:
    """The best batch size of each model."""
    best: dict[str, dict[str, Any]] = {}
    for row in gpu["rows"]:
        name = row["model"] + (", compiled" if row["compile"] else "")
        if name not in best or row["embedder"] > best[name]["embedder"]:
            best[name] = row
    rows = [
        [name, f"{row['embedder']:,.0f}", *(f"{24 * row['embedder'] / rate:,.0f}" for rate in (1, 6))]
        for name, row in best.items()
    ]
    yield from table([gpu["device"], "samples/s", "hours of video a day and GPU, `fps:1`", "`fps:6`"], rows)
