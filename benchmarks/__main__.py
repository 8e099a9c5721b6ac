"""vidlake beside what a user would pick instead, and beside the ceiling, in one run: ``make bench``."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import decode, end_to_end, growth
from benchmarks.footage import synthesise, videos_of
from benchmarks.processes import CORES, Environment

SECTIONS = ("decode", "end_to_end", "growth")
_OUT = Path("benchmarks/out")


def main() -> None:
    """Measure, print the tables, write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--archive", type=Path, help="a folder of videos; without it some are synthesised")
    parser.add_argument("--peers", type=Path, required=True, help="the Python of the peers' environment")
    parser.add_argument("--only", default=",".join(SECTIONS), help="of %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=2, help="of the long file")
    parser.add_argument("--peer-limit", type=float, default=900, help="seconds that a peer may take end to end")
    parser.add_argument("--json", type=Path, default=_OUT / "bench.json")
    asked = parser.parse_args()

    archive = (asked.archive or synthesise(_OUT / "clips")).resolve()
    peers = Environment(asked.peers.absolute())  # not resolved: a virtual environment is known by its own path
    print(f"{len(videos_of(archive))} files, {CORES} cores", flush=True)
    _OUT.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"cores": CORES, "archive": [path.name for path in videos_of(archive)]}
    with tempfile.TemporaryDirectory(prefix="vidlake-bench-") as scratch:
        folder = Path(scratch)
        sections: dict[str, tuple[Callable[[], Any], Callable[[Any], Iterator[str]]]] = {
            "decode": (
                lambda: decode.measure(videos_of(archive), peers=peers, rounds=asked.rounds, folder=folder),
                decode.describe,
            ),
            "end_to_end": (
                lambda: end_to_end.measure(
                    archive, peers=peers, rounds=asked.rounds, folder=folder, peer_limit_s=asked.peer_limit
                ),
                end_to_end.describe,
            ),
            "growth": (lambda: growth.measure(archive, folder=folder, hours=asked.hours), growth.describe),
        }
        for name in asked.only.split(","):
            measure, describe = sections[name]
            began = time.monotonic()
            found[name] = measure()
            asked.json.write_text(json.dumps(found, indent=2))  # what follows may take long, and fail
            print("\n" + "\n".join(describe(found[name])))
            print(f"\n({name}: {time.monotonic() - began:.0f} s)\n", flush=True)
    print(f"written to {asked.json}")


if __name__ == "__main__":
    main()
