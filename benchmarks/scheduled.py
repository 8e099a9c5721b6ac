"""Many segments through Ray Data, commit and resume: the driver's time and memory, and the files it leaves.

    python -m benchmarks.scheduled NUM_SEGMENTS [--factor F] [--workers N] [--segments-per-video N]

Ray, the scheduler, commits, leases, footers and derived tables are the product's own. Decoders and model sleep through
their measured costs, ``F`` times as fast: see ``benchmarks.stand_ins``. All of the driver's CPU time counts, that of
Ray Data's loop too, and its memory is sampled throughout.
"""

import argparse
import cProfile
import json
import os
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray.data._internal.execution import streaming_executor

from benchmarks import stand_ins
from benchmarks.planned import Edges, dataset_info, links, run
from benchmarks.sampled import Sampled
from pipeline.cluster.memory import give_back_what_is_freed
from pipeline.extract import dataflow
from pipeline.extract.request import RunOptions
from pipeline.extract.shared_tally import SharedTally
from pipeline.extract.tally import private_bytes
from pipeline.lake.compaction.compact import compact
from pipeline.lake.dataset import Dataset
from pipeline.lake.ledger import Ledger
from pipeline.records.resources import Hardware
from pipeline.records.shards import WHOLE

_OPTIONS = RunOptions(rows_per_file=16_384)
"""What is chosen from a hundred cores on; few workers leave smaller files."""
_BYTES_PER_SAMPLE = 1280 * 4
"""Of a feature of the default model: a compacted file holds as many segments as one of those would."""


def read_footers(dataset: Dataset) -> dict[str, float]:
    """What it takes to learn what is done."""
    began, used = time.monotonic(), time.process_time()
    ledger = Ledger.of(dataset.settled_parts())
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - used
    sizes = [path.stat().st_size for path in Path(dataset.store.uri).glob("features/*.parquet")]
    return {"files": len(sizes), "bytes": sum(sizes), "segments": len(ledger.keys), "wall_s": wall_s, "cpu_s": cpu_s}


def compacted(dataset: Dataset, folder: str) -> Dataset:
    """The dataset in files of as many segments as real ones of 256 MiB."""
    target = Dataset.at(folder)
    target.store.ensure_writable()
    held = target.backend.acquire(slot=WHOLE)
    before = read_footers(dataset)
    per_file = (256 << 20) / (stand_ins.NUM_SAMPLES * _BYTES_PER_SAMPLE)
    try:
        compact(dataset, target, token=held.token, file_bytes=int(before["bytes"] / before["segments"] * per_file))
    finally:
        held.release()
    return target


def profile_scheduler(profiler: cProfile.Profile) -> None:
    """Ray Data schedules in a thread of its own, where a profiler has to be started."""
    real = streaming_executor.StreamingExecutor.run

    def profiled(self: Any) -> None:
        profiler.runcall(real, self)

    streaming_executor.StreamingExecutor.run = profiled  # type: ignore[method-assign]


def main() -> None:
    """Run, resume, compact, and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("num_segments", type=int)
    parser.add_argument("--factor", type=float, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--segments-per-video", type=int, default=20)
    parser.add_argument("--profile", action="store_true")
    asked = parser.parse_args()
    give_back_what_is_freed()
    profiler = cProfile.Profile()
    if asked.profile:
        profile_scheduler(profiler)
    ray.init(address="local", num_cpus=asked.workers, num_gpus=2, include_dashboard=False, log_to_driver=False)
    hardware = Hardware(num_cpus=asked.workers, num_gpus=2, num_nodes=1)
    edges = Edges(
        segments_per_video=asked.segments_per_video, num_samples=stand_ins.NUM_SAMPLES, cost_s=stand_ins.DECODE_S
    )
    dataflow.probe = edges.probe
    dataflow.decode_and_embed = stand_ins.decoder(asked.factor)  # type: ignore[attr-defined]
    dataflow.Embed = stand_ins.model(asked.factor)  # type: ignore[attr-defined, assignment]
    info = dataset_info(dim=stand_ins.DIM)
    with tempfile.TemporaryDirectory(prefix="vidlake-scheduled-") as folder:
        archive = links(asked.num_segments // asked.segments_per_video, Path(folder))
        dataset = Dataset.at(f"{folder}/lake")
        before_bytes, began = private_bytes(os.getpid()), time.monotonic()
        with Sampled() as sampled:
            first_s = run(archive, dataset, edges, info=info, hardware=hardware, options=_OPTIONS, tally=SharedTally())
        wall_s, began = time.monotonic() - began, time.monotonic()
        again_s = run(archive, dataset, edges, info=info, hardware=hardware, options=_OPTIONS, tally=SharedTally())
        resume_wall_s = time.monotonic() - began
        ray.shutdown()
        before = read_footers(dataset)
        assert before["segments"] == asked.num_segments // asked.segments_per_video * asked.segments_per_video
        began = time.monotonic()
        after = read_footers(target := compacted(dataset, f"{folder}/compacted"))
        assert (after["segments"], target.info()) == (before["segments"], info)
        compact_wall_s = time.monotonic() - began
    if asked.profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    print(
        json.dumps(
            {
                "segments": before["segments"],
                "factor": asked.factor,
                "workers": asked.workers,
                "wall_s": wall_s,
                "cpu_s": first_s,
                "resume_cpu_s": again_s,
                "resume_wall_s": resume_wall_s,
                "private_bytes_before": before_bytes,
                "private_bytes": sampled.most_private_bytes,
                "footers": before,
                "footers_compacted": after,
                "compact_wall_s": compact_wall_s,
            }
        )
    )


if __name__ == "__main__":
    main()
