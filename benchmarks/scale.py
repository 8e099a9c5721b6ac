"""How far one driver goes: a plan of many videos, and many segments through the scheduler, commits and resuming.

    python -m benchmarks.scale [--videos N] [--segments N] [--factor F] [--json FILE]

Decoding and the model sleep through their measured costs, ``F`` times as fast (``benchmarks.stand_ins``); the rest is
the product's own, Ray Data's loop included, and nothing is subtracted. Each part runs at a quarter, a half and the
whole of the number asked for, each in a process of its own: what grows linearly doubles twice. Beyond that it is
extrapolated by what each further segment cost.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.processes import CORES, Environment, ask
from benchmarks.stand_ins import DECODE_S

_SHARES = (0.25, 0.5, 1.0)
_SEGMENTS = 10_000_000
_NODES, _CORES_PER_NODE = 1_000, 16
_TARGET_CPU_S = 0.0015
_TARGET_FOOTERS_S = 600.0


def measure(*, videos: int, segments: int, factor: float, gigabytes: float, keep: Path) -> dict[str, Any]:
    """Everything that ``describe`` shows; what is known so far lies in ``keep``, for what follows may take long."""
    found: dict[str, Any] = {"cores": CORES, "factor": factor, "videos": [], "runs": []}
    for share in _SHARES:
        print(f"  {videos * share:,.0f} videos of one segment through Ray", flush=True)
        words = [str(round(videos * share)), "--factor", str(factor), "--segments-per-video", "1"]
        found["videos"].append(ask("benchmarks.scheduled", words, Environment.own()))
        keep.write_text(json.dumps(found, indent=2))
    for share in _SHARES:
        print(f"  {segments * share:,.0f} segments through Ray", flush=True)
        words = [str(round(segments * share)), "--factor", str(factor)]
        found["runs"].append(ask("benchmarks.scheduled", words, Environment.own()))
        keep.write_text(json.dumps(found, indent=2))
    print(f"  compacting {gigabytes:g} GB", flush=True)
    found["compaction"] = ask("benchmarks.compaction", ["--gigabytes", str(gigabytes)], Environment.own())
    found["extrapolated"] = extrapolate(found["runs"])
    return found


def extrapolate(runs: list[dict[str, Any]]) -> dict[str, float]:
    """What 10,000,000 segments and 1,000 nodes come to, by what each further segment cost."""
    driver_s = _further(runs, _cpu_s)
    per_driver = 1 / driver_s
    nodes = per_driver * DECODE_S / _CORES_PER_NODE
    before, after = (
        _SEGMENTS * _further(runs, lambda run, key=key: run[key]["cpu_s"])  # type: ignore[misc]
        for key in ("footers", "footers_compacted")
    )
    return {
        "driver_cpu_s_per_segment": driver_s,
        "driver_bytes_per_segment": _further(runs, lambda run: run["private_bytes"]),
        "driver_cpu_h": _SEGMENTS * driver_s / 3600,
        "segments_per_s_of_a_driver": per_driver,
        "nodes_of_a_driver": nodes,
        "shards": -(-_NODES // nodes),
        "hours_on_all_nodes": _SEGMENTS * DECODE_S / (_NODES * _CORES_PER_NODE) / 3600,
        "resume_cpu_s": _SEGMENTS * _further(runs, lambda run: run["resume_cpu_s"]["all"]),
        "footers_s": before,
        "footers_compacted_s": after,
        "files": _SEGMENTS * runs[-1]["footers"]["files"] / runs[-1]["segments"],
        "files_compacted": _SEGMENTS * runs[-1]["footers_compacted"]["files"] / runs[-1]["segments"],
    }


def _cpu_s(run: dict[str, Any]) -> float:
    """All CPU seconds of the driver."""
    return float(run["cpu_s"]["all"])


def _further(runs: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float:
    """What a further segment cost, from the smallest run to the largest."""
    first, last = runs[0], runs[-1]
    return float((value(last) - value(first)) / (last["segments"] - first["segments"]))


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The tables in Markdown."""
    yield from _runs("videos of one segment", found["videos"])
    yield ""
    yield from _runs("segments, 20 a video", found["runs"])
    yield "\n| footers of | files | files a CPU second | segments a CPU second | 10,000,000 segments |"
    yield "|---|---|---|---|---|"
    beyond = found["extrapolated"]
    for key, seconds in (("footers", beyond["footers_s"]), ("footers_compacted", beyond["footers_compacted_s"])):
        row = found["runs"][-1][key]
        yield (
            f"| {'the run' if key == 'footers' else 'the same, compacted'} | {row['files']} | "
            f"{row['files'] / row['cpu_s']:,.0f} | {row['segments'] / row['cpu_s']:,.0f} | {seconds:.0f} s |"
        )
    yield from _conclusions(found)


def _runs(what: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    yield (f"| {what} | driver CPU s | ms a segment | driver MB: before, at most | files | to resume: CPU s | ratios |")
    yield "|---|---|---|---|---|---|---|"
    for row, ratio in zip(rows, _ratios(rows, _cpu_s), strict=True):
        used_s, footers = row["cpu_s"]["all"], row["footers"]
        file_mb = footers["bytes"] / footers["files"] / 1e6
        yield (
            f"| {row['segments']:,} | {used_s:.1f} | {1000 * used_s / row['segments']:.2f} | "
            f"{row['private_bytes_before'] / 1e6:.0f}, {row['private_bytes'] / 1e6:.0f} | "
            f"{footers['files']} of {file_mb:.1f} MB | {row['resume_cpu_s']['all']:.2f} | {ratio} |"
        )


def _conclusions(found: dict[str, Any]) -> Iterator[str]:
    beyond, compaction = found["extrapolated"], found["compaction"]
    driver_ms = 1000 * beyond["driver_cpu_s_per_segment"]
    yield (
        f"\nA further segment costs the driver **{driver_ms:.2f} ms** (target {1000 * _TARGET_CPU_S:g}) and "
        f"{beyond['driver_bytes_per_segment']:.0f} bytes. One driver keeps up with "
        f"{beyond['segments_per_s_of_a_driver']:,.0f} segments/s, {beyond['nodes_of_a_driver']:.0f} nodes of "
        f"{_CORES_PER_NODE} cores; {_NODES:,} nodes want `--shard I/{beyond['shards']:.0f}`. 10,000,000 segments are "
        f"{beyond['driver_cpu_h']:.1f} h of driver CPU and {beyond['hours_on_all_nodes']:.1f} h of those nodes, in "
        f"{beyond['files']:,.0f} files, {beyond['files_compacted']:,.0f} when compacted; to resume takes "
        f"{beyond['resume_cpu_s']:.0f} s of CPU, and the footers alone {beyond['footers_s']:.0f} s "
        f"({beyond['footers_compacted_s']:.0f} s compacted; target {_TARGET_FOOTERS_S:.0f})."
    )
    yield (
        f"\nCompacting: {compaction['files_before']} files of {compaction['bytes'] / 1e9:.2f} GB to "
        f"{compaction['files']}, the smallest of {compaction['smallest_bytes'] / 1e6:.0f} MB, at "
        f"{compaction['bytes'] / 1e6 / compaction['wall_s']:.0f} MB/s, at most "
        f"{compaction['peak_rss_bytes'] / 1e9:.1f} GB of memory."
    )


def _ratios(rows: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> list[str]:
    return ["", *(f"{value(after) / value(before):.2f}" for before, after in pairwise(rows))]


def main() -> None:
    """Measure, print the tables, write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=1_000_000)
    parser.add_argument("--segments", type=int, default=200_000)
    parser.add_argument(
        "--factor", type=float, default=1000, help="how much faster than measured decoding and model are"
    )
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of the dataset that is compacted")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/out/scale.json"))
    asked = parser.parse_args()
    began = time.monotonic()
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    found = measure(
        videos=asked.videos,
        segments=asked.segments,
        factor=asked.factor,
        gigabytes=asked.gigabytes,
        keep=asked.json,
    )
    asked.json.write_text(json.dumps(found, indent=2))
    print("\n" + "\n".join(describe(found)))
    print(f"\n({time.monotonic() - began:.0f} s; written to {asked.json})")


if __name__ == "__main__":
    main()
