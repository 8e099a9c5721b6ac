"""Daft's: ``read_video_frames`` and a class UDF."""

from typing import Any

import daft
import numpy as np
import torch

from benchmarks.footage import videos_of
from benchmarks.peers.archive_features import Asked, Model, picks_by_name, report, to_input


@daft.cls
class Features:
    """Holds the model."""

    def __init__(self) -> None:
        self._model = Model(is_free=False, is_fast=False)

    @daft.method.batch(return_dtype=daft.DataType.list(daft.DataType.float32()))
    def embed(self, frames: daft.Series) -> list[Any]:
        """A batch of frames to features."""
        inputs = torch.stack([to_input(np.asarray(frame)) for frame in frames.to_pylist()])
        return list(self._model.features(inputs))


def main(asked: Asked) -> None:
    """Run it."""
    picks = picks_by_name(asked.archive, asked.rule)
    keys = [f"{name}:{number}" for name, numbers in picks.items() for number in numbers]
    paths = [str(path) for path in videos_of(asked.archive)]
    frames = daft.read_video_frames(paths, image_height=720, image_width=1280)
    file = frames["path"].regexp_extract("[^/]+$", 0)
    frames = frames.with_column("key", file + ":" + frames["frame_index"].cast(daft.DataType.string()))
    picked = frames.where(frames["key"].is_in(keys))
    features = picked.select(picked["key"], picked["frame_index"], Features().embed(picked["data"]).alias("feature"))
    features.write_parquet(str(asked.out))
    report(asked.out)


if __name__ == "__main__":
    main(Asked.parse())
