"""Ray Data's own recipe: ``read_videos``, ``map_batches``, ``write_parquet``, as its guides put them together."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from benchmarks.peers.archive_features import network, picks_by_name, report, to_input


class Picked:
    """The rows of the frames that the rule picks."""

    def __init__(self, picks: dict[str, list[int]]) -> None:
        self._picks = {name: set(numbers) for name, numbers in picks.items()}

    def __call__(self, row: dict[str, Any]) -> bool:
        return row["frame_index"] in self._picks[Path(row["path"]).name]


def transform(row: dict[str, Any]) -> dict[str, Any]:
    """A frame to the model's input."""
    return {"file": Path(row["path"]).name, "frame_index": row["frame_index"], "pixels": to_input(row["frame"]).numpy()}


class Features:
    """The actor with the model; remembers when it worked."""

    def __init__(self, times: Path) -> None:
        self._net = network()
        self._times = times

    def __call__(self, batch: dict[str, "np.ndarray[Any, Any]"]) -> dict[str, Any]:
        with torch.inference_mode():
            features = self._net(torch.from_numpy(batch.pop("pixels"))).numpy()
        with self._times.open("a") as lines:
            lines.write(f"{time.time()} {len(features)}\n")
        return {**batch, "feature": features}


def main(archive: Path, out: Path, rule: str) -> None:
    """ARCHIVE OUT RULE."""
    out.mkdir(parents=True)
    times = out / "times.txt"
    ray.init(include_dashboard=False, log_to_driver=False, address="local")
    frames = ray.data.read_videos(str(archive), include_paths=True)
    frames = frames.filter(Picked(picks_by_name(archive, rule)))
    features = frames.map(transform).map_batches(
        Features,
        fn_constructor_kwargs={"times": times.resolve()},
        batch_size=32,
        num_cpus=0,  # of two CPUs reading takes one: were the other the model's, the filter would never get any
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    features.write_parquet(str(out / "features"))
    done = [line.split() for line in times.read_text().splitlines()]
    first, last = float(done[0][0]), float(done[-1][0])
    counts = [int(words[1]) for words in done]
    report(samples=sum(counts), steady_per_s=sum(counts[1:]) / max(last - first, 1e-9))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
