"""From a file to model input, one thread: samples per core-second of vidlake and of what a user would pick instead.

Every contender gives the same frames as ``uint8`` of the model's input size; what counts is the CPU time of its
process and of those that it starts. Peers are told the picked frames' numbers, for nothing; vidlake's time includes
its planning. Peers resize with torchvision's ``uint8`` kernel as the model's weights want it. "own resize" is the
library's own way, which is faster and gives other pixels: shown, not counted.
"""

import shutil
import statistics
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contend import OURS
from benchmarks.figures import Spread, in_turn, ratio, table
from benchmarks.peers.decoders import PEERS
from benchmarks.processes import Environment, ask, why_not
from benchmarks.progress import Progress

RULES = ("fps:1", "fps:5", "all", "keyframes")
REFERENCE = "PyAV loop"
_NEARLY_LEVELS = 2.0
_OWN = ", own resize"


def measure(paths: Sequence[Path], *, peers: Environment, rounds: int, folder: Path) -> dict[str, Any]:
    """By rule and contender the samples per core-second of each round, and how far its pixels are from the others'."""
    absent = {name: reason for name in PEERS if (reason := _why_absent(name, peers))}
    present = [name for name in PEERS if name not in absent]
    contenders = [OURS, *present, *(name + _OWN for name in present if PEERS[name].resizes)]
    progress = Progress("decode", rounds * len(contenders))
    rows: dict[str, list[dict[str, list[dict[str, Any]]]]] = {}
    for number in range(rounds):
        for name in in_turn(contenders, number):
            if name in absent:
                continue
            try:
                rows.setdefault(name, []).append(_one(name, paths, peers=peers, folder=folder))
            except subprocess.SubprocessError as error:
                absent[name] = str(error)
                rows.pop(name, None)
            progress.step(f"round {number + 1}, {name}: " + (absent.get(name) or _said(rows[name][-1])))
    rules = {
        rule: _compared({name: [each[rule] for each in rows[name]] for name in rows}, rule, folder) for rule in RULES
    }
    return {"files": [path.name for path in paths], "rules": rules, "absent": absent}


def _why_absent(name: str, peers: Environment) -> str | None:
    program = PEERS[name].program
    if program is not None and shutil.which(program) is None:
        return f"there is no program {program}"
    return why_not(PEERS[name].needs, peers)


def _one(name: str, paths: Sequence[Path], *, peers: Environment, folder: Path) -> dict[str, list[dict[str, Any]]]:
    keep = folder / name.replace(" ", "_")
    keep.mkdir(parents=True, exist_ok=True)
    environment = Environment.own() if name == OURS else peers
    options = ["--own-resize"] if name.endswith(_OWN) else []
    words = [name.removesuffix(_OWN), *options, "--rules", ",".join(RULES), str(keep), *map(str, paths)]
    rows: dict[str, list[dict[str, Any]]] = ask("benchmarks.contend", words, environment)
    return rows


def _said(rows: dict[str, list[dict[str, Any]]]) -> str:
    return f"{sum(row['cpu_s'] for each in rows.values() for row in each):.1f} CPU s"


def _compared(rows: dict[str, list[list[dict[str, Any]]]], rule: str, folder: Path) -> dict[str, Any]:
    """One rule's rates, geometric means over the files, by contender and round."""
    reference = rows[REFERENCE][0]
    contenders: dict[str, Any] = {}
    for name, rounds in rows.items():
        rates = [statistics.geometric_mean(row["samples"] / row["cpu_s"] for row in each) for each in rounds]
        is_same_picks = [row["samples"] for row in rounds[0]] == [row["samples"] for row in reference]
        files = [row["file"] for row in rounds[0]]
        off = _levels_off(folder, name, rule, files) if is_same_picks else None
        contenders[name] = {
            "per_core_second": rates,
            "is_same_pixels": is_same_picks and [row["crc"] for row in rounds[0]] == [row["crc"] for row in reference],
            "levels_off": off,
            "counts": not name.endswith(_OWN) and off is not None and off < _NEARLY_LEVELS,
        }
    others = {name: row for name, row in contenders.items() if row["counts"] and name != OURS}
    best = max(others, key=lambda name: statistics.median(others[name]["per_core_second"]))
    return {"contenders": contenders, "best": best}


def _levels_off(folder: Path, name: str, rule: str, files: Sequence[str]) -> float:
    """Mean difference to the reference's pixels, in levels of 256, over some samples of each file."""
    means = []
    for file in files:
        mine, its = (_load(folder / who.replace(" ", "_"), rule, file) for who in (name, REFERENCE))
        means.append(float(np.abs(mine.astype(np.int16) - its).mean()))
    return statistics.mean(means)


def _load(folder: Path, rule: str, file: str) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.load(folder / f"{rule.replace(':', '')}_{file}.npy")
    return pixels


def against_best(rule: dict[str, Any]) -> Spread:
    """vidlake's rate over that of the best peer whose pixels count, round by round."""
    rows = rule["contenders"]
    return ratio(rows[OURS]["per_core_second"], rows[rule["best"]]["per_core_second"])


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The table in Markdown."""
    rules = found["rules"]
    rows = [_row(name, rules) for name in rules[RULES[0]]["contenders"]]
    rows += [[name, *["not here"] * len(rules), f"`{reason}`"] for name, reason in found["absent"].items()]
    versus = [f"**{against_best(rule).shown(2)}** ({rule['best']})" for rule in rules.values()]
    rows.append(["vidlake / the best peer", *versus, ""])
    yield from table(["samples per core-second", *(f"`{rule}`" for rule in rules), "pixels"], rows)
    yield "\n\\* shown, not counted: other pixels."


def _row(name: str, rules: dict[str, Any]) -> list[str]:
    cells = []
    for rule in rules.values():
        row = rule["contenders"][name]
        cells.append(Spread.of(row["per_core_second"]).shown() + ("" if row["counts"] or name == OURS else "\\*"))
    row = rules[RULES[0]]["contenders"][name]
    off = row["levels_off"]
    pixels = "the same" if row["is_same_pixels"] else "other picks" if off is None else f"{off:.2f} levels off"
    return [name, *cells, pixels]
