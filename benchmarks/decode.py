"""From a file to model input, one thread: samples per core-second of vidlake and of what a user would pick instead.

Every contender gives the same frames as ``uint8`` of the model's input size; what counts is the CPU time of its
process and of those that it starts. Peers are told the picked frames' numbers, for nothing; vidlake's time includes
its planning. Peers resize with torchvision's ``uint8`` kernel as the model's weights want it, or by themselves
("own resize"), which is faster and gives other pixels: shown, not counted.
"""

import argparse
import json
import math
import statistics
import time
import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.footage import opened
from benchmarks.peers.decoders import PEERS, Picture
from benchmarks.processes import Environment, ask, cpu_s, is_installed

RULES = ("fps:1", "fps:5", "all", "keyframes")
OURS = "vidlake"
REFERENCE = "PyAV loop"
_RESIZE_PX, _CROP_PX = 256, 224  # torchvision's ImageNet weights
_NEARLY_LEVELS = 2.0
_OWN = ", own resize"


def picks_of(path: Path, rule: str) -> list[int]:
    """The numbers of the frames that a rule picks, in presentation order."""
    with opened(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.pts is not None and not packet.is_discard]
        shown = sorted((packet.pts or 0, packet.is_keyframe) for packet in packets)
        time_base = cast(Fraction, stream.time_base)
    if rule == "all":
        return list(range(len(shown)))
    if rule == "keyframes":
        return [number for number, (_, is_keyframe) in enumerate(shown) if is_keyframe]
    rate = Fraction(rule.removeprefix("fps:"))
    picks, empty_from = [], 0
    for number, (pts, _) in enumerate(shown):
        slots = ((pts - shown[0][0]) * time_base + min(time_base / 2, Fraction(1, 2000))) * rate
        if slots >= empty_from:
            picks.append(number)
            empty_from = math.floor(slots) + 1
    return picks


class Theirs:
    """A peer's way."""

    child_pid = None

    def __init__(self, name: str) -> None:
        import torch

        torch.set_num_threads(1)
        self._peer = PEERS[name.removesuffix(_OWN)]
        self._resizes = name.endswith(_OWN)

    def inputs(self, path: Path, rule: str) -> Iterator[Picture]:
        """Look up the picks, and then, as they are asked for, decode the frames to model inputs."""
        size = _resized(path) if self._resizes else None
        frames = self._peer.frames(path, picks_of(path, rule), is_keyframes=rule == "keyframes", size=size)
        return (_to_input(rgb, is_resized=self._resizes) for rgb in frames)


def _to_input(rgb: Picture, *, is_resized: bool) -> Picture:
    import torch
    from torchvision.transforms.v2 import functional

    pixels = torch.from_numpy(np.require(rgb, requirements="W")).permute(2, 0, 1)
    if not is_resized:
        pixels = functional.resize(pixels, [_RESIZE_PX], antialias=True)
    picture: Picture = functional.center_crop(pixels, [_CROP_PX]).permute(1, 2, 0).contiguous().numpy()
    return picture


def _resized(path: Path) -> tuple[int, int]:
    with opened(path) as (_, stream):
        height, width = stream.height, stream.width
    return int(_RESIZE_PX * height / min(height, width)), int(_RESIZE_PX * width / min(height, width))


class Ours:
    """vidlake's own way, its killable child included."""

    def __init__(self) -> None:
        from pipeline.media.process.sandbox import Sandbox
        from pipeline.models.preprocess import use_one_thread
        from pipeline.models.registry import load_model
        from pipeline.records.resources import DecodeLimits

        use_one_thread()
        self._sandbox = Sandbox(DecodeLimits())
        self._preprocessing = load_model("resnet18", weights="random:0").info.preprocessing

    @property
    def child_pid(self) -> int | None:
        """Of the decoder process."""
        return self._sandbox.pid

    def inputs(self, path: Path, rule: str) -> Iterator[Picture]:
        """Plan and decode."""
        from pipeline.media.process.sandbox import Job
        from pipeline.media.sampling.rules import parse_rule
        from pipeline.records.segments import TimeRange
        from pipeline.stages.decode import decode_video
        from pipeline.stages.plan import sizing_for
        from pipeline.storage.schemes import open_reader

        job = Job(uri=str(path), rule=parse_rule(rule), time_range=TimeRange())
        with open_reader(str(path)) as reader:
            plan = self._sandbox.plan(reader, job, sizing=sizing_for([self._preprocessing]))
            found = decode_video(
                self._sandbox,
                reader,
                job,
                facts=plan.facts,
                segments=plan.segments,
                preprocessings=(self._preprocessing,),
            )
            for samples in found:
                yield from samples.pixels[0]


def contend(name: str, rule: str, paths: Sequence[Path], keep: Path) -> list[dict[str, Any]]:
    """Runs in a process of its own: one contender, all files."""
    contender = Ours() if name == OURS else Theirs(name)
    list(contender.inputs(paths[0], "keyframes"))  # starts and imports what it needs
    rows = []
    for path in paths:
        inputs = contender.inputs(path, rule)  # a peer's picks are looked up here
        seen = _Seen(every=max(1, len(picks_of(path, rule)) // 50))
        used, began = cpu_s(contender.child_pid), time.monotonic()
        for picture in inputs:
            seen.add(picture)
        used = cpu_s(contender.child_pid) - used - seen.looking_s
        rows.append({"file": path.name, "samples": seen.count, "cpu_s": used, "wall_s": time.monotonic() - began})
        rows[-1]["crc"] = seen.crc
        np.save(keep / f"{path.name}.npy", np.stack(seen.kept))
    return rows


class _Seen:
    """What a contender gave, looked at as it comes: keeping it all would measure how fast memory is handed out."""

    def __init__(self, *, every: int) -> None:
        self._every = every
        self.count = self.crc = 0
        self.looking_s = 0.0
        self.kept: list[Picture] = []

    def add(self, picture: Picture) -> None:
        """Look at the next one; the CPU time that this takes is not the contender's."""
        began_s = time.thread_time()
        self.crc = zlib.crc32(picture.data, self.crc)
        if self.count % self._every == 0:
            self.kept.append(picture.copy())
        self.count += 1
        self.looking_s += time.thread_time() - began_s


def measure(paths: Sequence[Path], *, peers: Environment, rounds: int, folder: Path) -> dict[str, Any]:
    """Medians over the rounds, by rule and contender, and how far the pixels are from the reference's."""
    names = [name for name, peer in PEERS.items() if is_installed(peer.needs, peers)]
    contenders = [OURS, *names, *(name + _OWN for name in names)]
    found: dict[str, Any] = {}
    for rule in RULES:
        rows: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in contenders}
        for number in range(rounds):
            for name in contenders:
                if number and name.endswith(_OWN):
                    continue  # only shown
                keep = folder / rule.replace(":", "") / name.replace(" ", "_")
                keep.mkdir(parents=True, exist_ok=True)
                environment = Environment.own() if name == OURS else peers
                words = [name, rule, str(keep), *map(str, paths)]
                rows[name].append(ask("benchmarks.decode", words, environment))
                cpu = sum(row["cpu_s"] for row in rows[name][-1])
                print(f"  decode {rule}: {name}, {cpu:.1f} CPU s", flush=True)
        found[rule] = _compared(rows, folder / rule.replace(":", ""))
    return found


def _compared(rows: dict[str, list[list[dict[str, Any]]]], folder: Path) -> dict[str, Any]:
    files = [row["file"] for row in rows[OURS][0]]
    table: dict[str, Any] = {}
    for name, rounds in rows.items():
        rates = {
            file: statistics.median(each[index]["samples"] / each[index]["cpu_s"] for each in rounds)
            for index, file in enumerate(files)
        }
        picks = [row["samples"] for row in rounds[0]] == [row["samples"] for row in rows[REFERENCE][0]]
        mean, most = _distance(folder, name, files) if picks else (None, None)
        table[name] = {
            "per_core_second": rates,
            "is_same_picks": picks,
            "is_same_pixels": picks and [r["crc"] for r in rounds[0]] == [r["crc"] for r in rows[REFERENCE][0]],
            "mean_levels_off": mean,
            "most_levels_off": most,
            "counts": picks and not name.endswith(_OWN) and mean is not None and mean < _NEARLY_LEVELS,
        }
    best = {
        file: max(row["per_core_second"][file] for name, row in table.items() if row["counts"] and name != OURS)
        for file in files
    }
    ratios = {file: table[OURS]["per_core_second"][file] / best[file] for file in files}
    return {"contenders": table, "ratios": ratios, "ratio": statistics.geometric_mean(ratios.values())}


def _distance(folder: Path, name: str, files: Sequence[str]) -> tuple[float, int]:
    """Mean and greatest difference to the reference's pixels, in levels of 256, over some samples of each file."""
    means, most = [], 0
    for file in files:
        mine, its = (_load(folder / who.replace(" ", "_") / f"{file}.npy") for who in (name, REFERENCE))
        off = np.abs(mine.astype(np.int16) - its)
        means.append(float(off.mean()))
        most = max(most, int(off.max()))
    return statistics.mean(means), most


def _load(path: Path) -> NDArray[np.uint8]:
    pixels: NDArray[np.uint8] = np.load(path)
    return pixels


def describe(found: dict[str, Any]) -> Iterator[str]:
    """The table in Markdown, geometric means over the files."""
    yield "| samples per core-second | " + " | ".join(found) + " | pixels |"
    yield "|---|" + "---|" * (len(found) + 1)
    first = next(iter(found.values()))["contenders"]
    for name, row in first.items():
        cells = []
        for rule in found.values():
            contender = rule["contenders"][name]
            rate = statistics.geometric_mean(contender["per_core_second"].values())
            cells.append(f"{rate:.1f}" + ("" if contender["counts"] else " *"))
        off = row["mean_levels_off"]
        pixels = "the same" if row["is_same_pixels"] else "other picks" if off is None else f"{off:.2f} levels off"
        yield f"| {name} | " + " | ".join(cells) + f" | {pixels} |"
    ratios = " | ".join(f"**{rule['ratio']:.2f}**" for rule in found.values())
    yield f"| vidlake / the best peer on each file | {ratios} | |"
    yield "\n\\* shown, not counted: other pixels or other picks."


def main() -> None:
    """Run one contender, for ``measure``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("rule")
    parser.add_argument("keep", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    asked = parser.parse_args()
    print(json.dumps(contend(asked.name, asked.rule, asked.paths, asked.keep)))


if __name__ == "__main__":
    main()
