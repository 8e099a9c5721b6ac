"""Ray Data's recipe as well as it can be put: ``read_videos(fps=, resize=)``, and the model on all cores.

The reader's ``fps`` takes frames at a fixed stride and its ``resize`` gives other pixels than the model's weights want;
both are in the recipe's favour. Frames travel as ``uint8``, and the model's actor crops and normalises them by batches.
"""

from typing import Any

import numpy as np
import ray
import ray.data
import torch

from benchmarks.contend import resized
from benchmarks.footage import videos_of
from benchmarks.peers.archive_features import BATCH, CORES, RESIZED_TO_INPUT, Asked, Model, report


class Features:
    """The actor with the model."""

    def __init__(self, asked: Asked) -> None:
        self._model = Model(is_free=asked.is_free, is_fast=asked.is_fast, num_threads=CORES)

    def __call__(self, batch: dict[str, "np.ndarray[Any, Any]"]) -> dict[str, Any]:
        frames = torch.from_numpy(np.require(batch.pop("frame"), requirements="W")).permute(0, 3, 1, 2)
        return {**batch, "feature": self._model.features(RESIZED_TO_INPUT(frames))}


def main(asked: Asked) -> None:
    """Run it."""
    ray.init(include_dashboard=False, log_to_driver=False, address="local")
    frames = ray.data.read_videos(
        str(asked.archive),
        include_paths=True,
        fps=int(asked.rule.removeprefix("fps:")),
        resize=resized(videos_of(asked.archive)[0]),
    )
    features = frames.map_batches(
        Features,
        fn_constructor_kwargs={"asked": asked},
        batch_size=BATCH,
        num_cpus=0,  # so that reading may have all cores, and the model too
        compute=ray.data.ActorPoolStrategy(size=1),
    )
    features.write_parquet(str(asked.out))
    report(asked.out)


if __name__ == "__main__":
    main(Asked.parse())
