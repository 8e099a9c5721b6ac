"""One decoding library in a process of its own: from files to model inputs, by each rule, one thread.

    python -m benchmarks.contend NAME [--own-resize] [--rules R,...] KEEP FILE...

Samples are looked at as they come: keeping them all would measure how fast memory is handed out.
"""

import argparse
import json
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.footage import opened
from benchmarks.peers.decoders import PEERS, Picture
from benchmarks.picks import picks_of
from benchmarks.processes import cpu_s

OURS = "vidlake"
_RESIZE_PX, _CROP_PX = 256, 224  # torchvision's ImageNet weights
_KEPT = 20
"""Samples of a file, about, that are kept to be compared."""


class Theirs:
    """A peer's way: frames by the library, inputs by torchvision; with ``is_resizing`` the library resizes."""

    child_pid = None

    def __init__(self, name: str, *, is_resizing: bool) -> None:
        import torch

        torch.set_num_threads(1)
        self._peer = PEERS[name]
        self._is_resizing = is_resizing

    def inputs(self, path: Path, rule: str) -> Iterator[Picture]:
        """Look up the picks, and then, as they are asked for, decode the frames to model inputs."""
        size = resized(path) if self._is_resizing else None
        frames = self._peer.frames(path, picks_of(path, rule), is_keyframes=rule == "keyframes", size=size)
        return (_to_input(rgb, is_resized=self._is_resizing) for rgb in frames)


def _to_input(rgb: Picture, *, is_resized: bool) -> Picture:
    import torch
    from torchvision.transforms.v2 import functional

    pixels = torch.from_numpy(np.require(rgb, requirements="W")).permute(2, 0, 1)
    if not is_resized:
        pixels = functional.resize(pixels, [_RESIZE_PX], antialias=True)
    picture: Picture = functional.center_crop(pixels, [_CROP_PX]).permute(1, 2, 0).contiguous().numpy()
    return picture


def resized(path: Path) -> tuple[int, int]:
    """Height and width of a file's frames whose shorter side has the model's length."""
    with opened(path) as (_, stream):
        height, width = stream.height, stream.width
    return int(_RESIZE_PX * height / min(height, width)), int(_RESIZE_PX * width / min(height, width))


class Seen:
    """What a contender gave."""

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


def contend(
    name: str, *, is_resizing: bool, rules: Sequence[str], paths: Sequence[Path], keep: Path
) -> dict[str, list[dict[str, Any]]]:
    """By rule, a row for each file."""
    contender = _contender(name, is_resizing=is_resizing)
    list(contender.inputs(paths[0], "keyframes"))  # starts and imports what it needs
    rows: dict[str, list[dict[str, Any]]] = {rule: [] for rule in rules}
    for rule in rules:
        for path in paths:
            inputs = contender.inputs(path, rule)  # a peer's picks are looked up here
            seen = Seen(every=max(1, len(picks_of(path, rule)) // _KEPT))
            used_s = cpu_s(contender.child_pid)
            for picture in inputs:
                seen.add(picture)
            used_s = cpu_s(contender.child_pid) - used_s - seen.looking_s
            rows[rule].append({"file": path.name, "samples": seen.count, "cpu_s": used_s, "crc": seen.crc})
            np.save(keep / f"{rule.replace(':', '')}_{path.name}.npy", np.stack(seen.kept))
    return rows


def _contender(name: str, *, is_resizing: bool) -> Any:
    if name == OURS:
        from benchmarks.ours import Ours

        return Ours()
    return Theirs(name, is_resizing=is_resizing)


def main() -> None:
    """Run one contender and print its rows as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--own-resize", action="store_true")
    parser.add_argument("--rules", required=True)
    parser.add_argument("keep", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    requested = parser.parse_args()
    rows = contend(
        requested.name,
        is_resizing=requested.own_resize,
        rules=requested.rules.split(","),
        paths=requested.paths,
        keep=requested.keep,
    )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
