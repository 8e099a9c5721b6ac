"""What the peers of the end-to-end comparison share: the network, its transforms, the picked frames, the features."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
from torchvision.transforms import v2

from benchmarks.decode import picks_of
from benchmarks.footage import videos_of

TRANSFORMS = v2.Compose(
    [
        v2.Resize(256, antialias=True),
        v2.CenterCrop(224),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ]
)


def network() -> torch.nn.Module:
    """resnet18 without its head, with the weights that vidlake calls ``random:0``."""
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=1000)
    net.fc = torch.nn.Identity()
    return net.eval()


def to_input(rgb: "np.ndarray[Any, Any]") -> torch.Tensor:
    """``uint8[h, w, 3]`` to ``float32[3, 224, 224]``."""
    pixels: torch.Tensor = TRANSFORMS(torch.from_numpy(np.require(rgb, requirements="W")).permute(2, 0, 1))
    return pixels


def picks_by_name(archive: Path, rule: str) -> dict[str, list[int]]:
    """The numbers of the frames to keep, of each file."""
    return {path.name: picks_of(path, rule) for path in videos_of(archive)}


def write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    """One Parquet file, as a script would."""
    out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), out / "features.parquet")


def report(**figures: float) -> None:
    """The line that the benchmark reads."""
    print(json.dumps(figures), flush=True)
