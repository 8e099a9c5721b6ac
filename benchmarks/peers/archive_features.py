"""What the peers of the end-to-end comparison share: the network, its transforms, the picked frames, the features."""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
from torchvision.transforms import v2

from benchmarks.footage import videos_of
from benchmarks.free_model import network as free_network
from benchmarks.picks import picks_of

CORES = len(os.sched_getaffinity(0))
BATCH = 32
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TO_INPUT = v2.Compose(
    [
        v2.Resize(256, antialias=True),
        v2.CenterCrop(224),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=_MEAN, std=_STD),
    ]
)
RESIZED_TO_INPUT = v2.Compose(
    [v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean=_MEAN, std=_STD)]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The words of a peer's command: what all of them are asked."""

    archive: Path
    out: Path
    rule: str
    is_free: bool
    """A model that costs nothing, instead of resnet18."""
    is_fast: bool
    """In bf16, compiled."""

    @classmethod
    def parse(cls) -> Self:
        """From the command line."""
        parser = argparse.ArgumentParser()
        parser.add_argument("archive", type=Path)
        parser.add_argument("out", type=Path)
        parser.add_argument("rule")
        parser.add_argument("--free", action="store_true")
        parser.add_argument("--fast", action="store_true")
        words = parser.parse_args()
        return cls(archive=words.archive, out=words.out, rule=words.rule, is_free=words.free, is_fast=words.fast)


class Model:
    """resnet18 without its head, with the weights that vidlake calls ``random:0``, or the model that costs nothing."""

    def __init__(self, *, is_free: bool, is_fast: bool, num_threads: int | None = None) -> None:
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        torch.manual_seed(0)
        net = free_network() if is_free else torchvision.models.resnet18(num_classes=1000)
        if not is_free:
            net.fc = torch.nn.Identity()
        self._net: Any = net.eval().to(memory_format=torch.channels_last)
        self._dtype = torch.float32
        self._is_padded = is_fast
        if is_fast:
            self._dtype = torch.bfloat16
            self._net = torch.compile(self._net.to(self._dtype), dynamic=False)

    def features(self, inputs: torch.Tensor) -> "np.ndarray[Any, Any]":
        """``float32[n, 3, 224, 224]`` to ``float32[n, d]``; what is compiled for one shape gets that shape."""
        count = len(inputs)
        if self._is_padded and count < BATCH:
            inputs = torch.cat([inputs, inputs.new_zeros(BATCH - count, *inputs.shape[1:])])
        with torch.inference_mode():
            inputs = inputs.to(self._dtype, memory_format=torch.channels_last)
            features: np.ndarray[Any, Any] = self._net(inputs).float().numpy()[:count]
        return features


def to_input(rgb: "np.ndarray[Any, Any]") -> torch.Tensor:
    """``uint8[h, w, 3]`` to ``float32[3, 224, 224]``."""
    pixels: torch.Tensor = TO_INPUT(torch.from_numpy(np.require(rgb, requirements="W")).permute(2, 0, 1))
    return pixels


def picks_by_name(archive: Path, rule: str) -> dict[str, list[int]]:
    """The numbers of the frames to keep, of each file."""
    return {path.name: picks_of(path, rule) for path in videos_of(archive)}


def write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One Parquet file, as a script would."""
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), out / "features.parquet")


def report(out: Path) -> None:
    """The line that the benchmark reads: the samples that lie in the files."""
    rows = sum(pq.read_metadata(path).num_rows for path in out.rglob("*.parquet"))
    print(json.dumps({"num_samples": rows}), flush=True)
