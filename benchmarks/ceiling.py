"""The ceiling, in a process of its own: CPU seconds of our decoding alone and of our model alone, nothing else.

    python -m benchmarks.ceiling ARCHIVE RULE [--precision P] [--compile] [--no-model]

A machine that did nothing but decode and compute, on all cores without a pause, would give ``per_second`` samples.
"""

import argparse
import json
from pathlib import Path
from typing import cast

import numpy as np

from benchmarks.footage import videos_of
from benchmarks.ours import Ours
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
    parser.add_argument("--no-model", action="store_true", help="of a model that costs nothing")
    requested = parser.parse_args()

    keep_what_is_freed()
    ours = Ours()
    paths = videos_of(requested.archive)
    list(ours.inputs(paths[0], "uniform:1"))
    used_s = cpu_s(ours.child_pid)
    pictures = [picture for path in paths for picture in ours.inputs(path, requested.rule)]
    decode_cpu_s = cpu_s(ours.child_pid) - used_s

    model_cpu_s = 0.0
    if not requested.no_model:
        embedder = Embedder(
            load_model("resnet18", weights="random:0"),
            precision=cast(Precision, requested.precision),
            compile=requested.compile,
            batch_size=_BATCH,
            num_threads=CORES,
        )
        inputs = np.stack(pictures)
        embedder.embed([inputs[:_BATCH]])  # warm for the shape that counts
        used_s = cpu_s()
        embedder.embed([inputs])
        model_cpu_s = cpu_s() - used_s
    per_second = CORES * len(pictures) / (decode_cpu_s + model_cpu_s)
    figures = {"decode_cpu_s": decode_cpu_s, "model_cpu_s": model_cpu_s, "per_second": per_second}
    print(json.dumps({"samples": len(pictures), **figures}))


if __name__ == "__main__":
    main()
