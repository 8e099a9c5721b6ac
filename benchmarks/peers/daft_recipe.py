"""Daft's: ``read_video_frames`` and a class UDF."""

import sys
import time
from pathlib import Path
from typing import Any

import daft
import numpy as np
import torch

from benchmarks.footage import videos_of
from benchmarks.peers.archive_features import network, picks_by_name, report, to_input


@daft.cls
class Features:
    """Holds the model."""

    def __init__(self) -> None:
        self._net = network()

    @daft.method.batch(return_dtype=daft.DataType.list(daft.DataType.float32()))
    def embed(self, frames: daft.Series) -> list[Any]:
        """A batch of frames to features."""
        with torch.inference_mode():
            inputs = torch.stack([to_input(np.asarray(frame)) for frame in frames.to_pylist()])
            return list(self._net(inputs).numpy())


def main(archive: Path, out: Path, rule: str) -> None:
    """ARCHIVE OUT RULE."""
    began = time.time()
    picks = picks_by_name(archive, rule)
    keys = [f"{name}:{number}" for name, numbers in picks.items() for number in numbers]
    frames = daft.read_video_frames([str(path) for path in videos_of(archive)], image_height=720, image_width=1280)
    file = frames["path"].regexp_extract("[^/]+$", 0)
    frames = frames.with_column("key", file + ":" + frames["frame_index"].cast(daft.DataType.string()))
    picked = frames.where(frames["key"].is_in(keys))
    features = picked.select(picked["key"], picked["frame_index"], Features().embed(picked["data"]).alias("feature"))
    features.write_parquet(str(out / "features"))
    report(samples=len(keys), steady_per_s=len(keys) / (time.time() - began))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
