"""vidlake beside what a user would pick instead, and beside the ceiling, in one run: ``make bench``.

Contenders take turns, round by round; the tables give medians and, in brackets, the least and the most.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import costs, decode, driver, end_to_end, growth
from benchmarks.figures import publish
from benchmarks.footage import synthesise, videos_of
from benchmarks.processes import CORES, Environment

SECTIONS: dict[str, Callable[[Any], Iterator[str]]] = {
    "decode": decode.describe,
    "end_to_end": end_to_end.describe,
    "driver": driver.describe,
    "growth": growth.describe,
}
_DEFAULT = "decode,end_to_end,driver"
_OUT = Path("benchmarks/out")
_README = Path("benchmarks/README.md")
_CLUSTER = Path("docs/cluster.md")
_DECODE_S = 15
"""How long the synthesised clips of the decoders' comparison last: a round of thirteen contenders takes minutes."""


def main() -> None:
    """Measure, print the tables, write them as JSON and Markdown, and into the documents where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archive", type=Path, help="a folder of videos; without it some are synthesised")
    parser.add_argument("--peers", type=Path, help="the Python of the peers' environment")
    parser.add_argument("--only", default=_DEFAULT, help=f"of {','.join(SECTIONS)}; without it %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, without the slowest peers: no figures")
    parser.add_argument("--hours", type=float, default=2, help="of growth's long file")
    parser.add_argument("--peer-limit", type=float, default=300, help="seconds that one run may take")
    parser.add_argument("--gpu", type=Path, help="what benchmarks.gpu wrote, for the table of costs")
    parser.add_argument("--json", type=Path, default=_OUT / "bench.json")
    parser.add_argument("--from-json", action="store_true", help="measure nothing: the tables of an earlier run")
    parser.add_argument("--publish", action="store_true", help=f"put the tables into {_README} and {_CLUSTER}")
    requested = parser.parse_args()
    if requested.from_json:
        found = json.loads(requested.json.read_text())
    elif requested.peers is None:
        parser.error("--peers is missing")
    else:
        found = _measure(requested)
    if requested.gpu is not None:
        found["gpu"] = json.loads(requested.gpu.read_text())
    blocks = {name: "\n".join(_block(name, found)) for name in SECTIONS if name in found}
    requested.json.with_suffix(".md").write_text("\n\n".join(blocks.values()) + "\n")
    if requested.publish:
        publish(_README, blocks)
        if "end_to_end" in found:
            publish(_CLUSTER, {"costs": "\n".join(costs.describe(found))})
    elif "end_to_end" in found:
        print("\n" + "\n".join(costs.describe(found)))
    print(f"\nwritten to {requested.json} and {requested.json.with_suffix('.md')}")


def _measure(requested: argparse.Namespace) -> dict[str, Any]:
    """All sections asked for; what is known so far lies in the file, for what follows may take long, and fail."""
    names = requested.only.split(",")
    if unknown := set(names) - set(SECTIONS):
        raise SystemExit(f"--only {','.join(sorted(unknown))}: of {','.join(SECTIONS)}")
    requested.json.parent.mkdir(parents=True, exist_ok=True)
    archive = (requested.archive or synthesise(_OUT / "clips")).resolve()
    peers = Environment(requested.peers.absolute())  # not resolved: a virtual environment is known by its own path
    rounds = 1 if requested.quick else requested.rounds
    found = _before(requested.json) | {
        "cores": CORES,
        "cpu": _cpu(),
        "archive": [each.name for each in videos_of(archive)],
    }
    print(f"{len(videos_of(archive))} files, {found['cpu']}, {CORES} cores, {rounds} rounds", flush=True)
    for name in names:
        began_s = time.monotonic()
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="vidlake-bench-") as scratch:
            found[name] = _section(name, archive, requested, peers=peers, rounds=rounds, folder=Path(scratch))
        took_s = time.monotonic() - began_s
        found[name] |= {"at": _now(), "rounds_run": rounds, "took_s": took_s, "load_before": load, "on": _cpu()}
        requested.json.write_text(json.dumps(found, indent=2))
        print("\n" + "\n".join(_block(name, found)) + "\n", flush=True)
    return found


def _before(path: Path) -> dict[str, Any]:
    """What an earlier run on this machine found: sections may be run one by one."""
    if not path.exists():
        return {}
    before: dict[str, Any] = json.loads(path.read_text())
    return before if before.get("cpu") == _cpu() and before.get("cores") == CORES else {}


def _section(
    name: str, archive: Path, requested: argparse.Namespace, *, peers: Environment, rounds: int, folder: Path
) -> dict[str, Any]:
    match name:
        case "decode":
            clips = archive if requested.archive else synthesise(_OUT / "clips", seconds=_DECODE_S)
            return decode.measure(videos_of(clips.resolve()), peers=peers, rounds=rounds, folder=folder)
        case "end_to_end":
            return end_to_end.measure(
                archive,
                peers=peers,
                rounds=rounds,
                folder=folder,
                limit_s=requested.peer_limit,
                is_quick=requested.quick,
            )
        case "driver":
            return driver.measure(peers=peers, rounds=rounds, folder=folder)
        case _:
            return growth.measure(archive, folder=folder, hours=requested.hours)


def _block(name: str, found: dict[str, Any]) -> Iterator[str]:
    """A section's tables, and what they were measured on."""
    section = found[name]
    yield from SECTIONS[name](section)
    yield (
        f"\n{section['at']}, {found['cores']} cores ({section['on']}), rounds: {section['rounds_run']}, "
        f"{section['took_s'] / 60:.0f} min, load before {section['load_before']:.1f}."
    )


def _cpu() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d")


if __name__ == "__main__":
    main()
