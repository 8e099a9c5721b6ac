"""Ray Data's plain recipe, as its guides put it together: ``read_videos``, ``map_batches``, ``write_parquet``."""

from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data
import torch

from benchmarks.peers.archive_features import BATCH, Asked, Model, picks_by_name, report, to_input


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
    """The actor with the model."""

    def __init__(self, asked: Asked) -> None:
        self._model = Model(is_free=asked.is_free, is_fast=asked.is_fast)

    def __call__(self, batch: dict[str, "np.ndarray[Any, Any]"]) -> dict[str, Any]:
        pixels = torch.from_numpy(batch.pop("pixels"))
        return {**batch, "feature": self._model.features(pixels)}


def main(asked: Asked) -> None:
    """Run it."""
    ray.init(include_dashboard=False, log_to_driver=False, address="local")
    frames = ray.data.read_videos(str(asked.archive), include_paths=True)
    frames = frames.filter(Picked(picks_by_name(asked.archive, asked.rule)))
    features = frames.map(transform).map_batches(
        Features,
        fn_constructor_kwargs={"asked": asked},
        batch_size=BATCH,
        num_cpus=0,  # of two CPUs reading takes one: were the other the model's, the filter would never get any
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    features.write_parquet(str(asked.out))
    report(asked.out)


if __name__ == "__main__":
    main(Asked.parse())
