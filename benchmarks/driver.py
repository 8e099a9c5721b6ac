"""What the driver costs: all CPU seconds of its process, and the most memory it had, Ray Data and start-up included.

Small clips: the command as users run it, over many clips of a second that cost next to nothing to decode, beside Ray's
tuned recipe over the same. Large segments: eight seconds of decoding each, slept through a thousand times as fast
(``benchmarks.scheduled``), as a driver of many nodes sees them; no recipe has segments.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contenders import CONTENDERS as ALL
from benchmarks.contenders import OURS, Work, run
from benchmarks.figures import Spread, in_turn, table
from benchmarks.footage import files_of, tiny_clip
from benchmarks.processes import Environment, ask, why_not
from benchmarks.progress import Progress

CONTENDERS = {each.name: each for each in ALL if each.name in (OURS, "Ray's recipe, tuned")}
SEGMENTS = "vidlake, large segments"
_CLIPS = (300, 1_200)
_SEGMENTS = (2_000, 8_000)
_WORK = Work(name="small clips", rule="fps:1", is_free=True, files=_CLIPS)


def measure(*, peers: Environment, rounds: int, folder: Path) -> dict[str, Any]:
    """By contender and round, what the small and the large run cost."""
    clip = folder / "tiny" / "clip.mp4"
    clip.parent.mkdir(parents=True)
    tiny_clip(clip)
    names = [*CONTENDERS, SEGMENTS]
    progress = Progress("driver", 2 * rounds * len(names))
    absent = why_not("decord", peers)
    failed = {} if absent is None else {name: absent for name, each in CONTENDERS.items() if each.module}
    found: dict[str, Any] = {"rounds": {}, "failed": failed}
    for number in range(rounds):
        for name in in_turn(names, number):
            if name in failed:
                continue
            try:
                pair = []
                for size in range(2):
                    pair.append(_one(name, size, clip.parent, peers=peers, folder=folder))
                    progress.step(f"round {number + 1}, {name}, {pair[-1]['count']:,}: {pair[-1]['cpu_s']:.1f} CPU s")
                found["rounds"].setdefault(name, []).append(pair)
            except subprocess.SubprocessError as error:
                failed[name] = str(error)[:200]
                found["rounds"].pop(name, None)
    return found


def _one(name: str, size: int, clips: Path, *, peers: Environment, folder: Path) -> dict[str, float]:
    if name == SEGMENTS:
        answer = ask("benchmarks.scheduled", [str(_SEGMENTS[size])], Environment.own())
        return {"count": answer["segments"], "cpu_s": answer["cpu_s"]["all"], "bytes": answer["private_bytes"]}
    files = files_of(clips, _CLIPS[size], folder)
    done = run(CONTENDERS[name].command(files, folder / "out", _WORK, peers=peers), folder / "out")
    return {"count": _CLIPS[size], "cpu_s": done.driver_cpu_s, "bytes": done.driver_bytes}


def further_ms(pair: Sequence[dict[str, float]]) -> float:
    """Milliseconds of the driver for each clip or segment that the large run had more than the small one."""
    small, large = pair
    return 1000 * (large["cpu_s"] - small["cpu_s"]) / (large["count"] - small["count"])


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The table in Markdown."""
    rows = []
    for name, rounds in found["rounds"].items():
        for size in range(2):
            here = [pair[size] for pair in rounds]
            rows.append(
                [
                    name,
                    f"{here[0]['count']:,}",
                    Spread.of([each["cpu_s"] for each in here]).shown(),
                    Spread.of([1000 * each["cpu_s"] / each["count"] for each in here]).shown(2),
                    Spread.of([further_ms(pair) for pair in rounds]).shown(2) if size else "",
                    Spread.of([each["bytes"] / 1e6 for each in here]).shown(0),
                ]
            )
    rows += [[name, "", "", "", "", reason.replace("|", "/")] for name, reason in found["failed"].items()]
    columns = [
        "driver",
        "clips or segments",
        "CPU s",
        "ms each, start-up included",
        "ms each further one",
        "MB at most",
    ]
    yield from table(columns, rows)
