"""The ceiling, in a process of its own: our decoding and our model without Ray, each with all cores in turn.

python -m benchmarks.ceiling ARCHIVE RULE [--precision P] [--compile]
"""

import argparse
import json
import time
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.decode import Ours
from benchmarks.footage import videos_of
from benchmarks.processes import CORES, cpu_s
from pipeline.cluster.memory import keep_what_is_freed
from pipeline.models.embedder import Embedder
from pipeline.models.registry import load_model
from pipeline.records.model_info import Precision

_BATCH = 32  # the product's own on a CPU


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", type=Path)
    parser.add_argument("rule")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()

    keep_what_is_freed()
    ours = Ours()
    paths = videos_of(asked.archive)
    list(ours.inputs(paths[0], "uniform:1"))
    used = cpu_s(ours.child_pid)
    pixels = [np.stack(list(ours.inputs(path, asked.rule))) for path in paths]
    decode_cpu_s = cpu_s(ours.child_pid) - used

    embedder = Embedder(
        load_model("resnet18", weights="random:0"),
        precision=cast(Precision, asked.precision),
        compile=asked.compile,
        batch_size=_BATCH,
        num_threads=CORES,
    )
    embedder.warm_up()
    inputs = np.concatenate(pixels)
    began = time.monotonic()
    embedder.embed([inputs])
    model_cpu_s = (time.monotonic() - began) * CORES  # all of them are taken, whether or not they have work
    seconds = (decode_cpu_s + model_cpu_s) / CORES
    figures = {"decode_cpu_s": decode_cpu_s, "model_cpu_s": model_cpu_s, "per_second": len(inputs) / seconds}
    print(json.dumps({"samples": len(inputs), **figures}))


if __name__ == "__main__":
    main()
