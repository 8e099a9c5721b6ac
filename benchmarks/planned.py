"""A plan of many videos through the driver: its time, its memory, the files it leaves, and what resuming costs.

    python -m benchmarks.planned NUM_VIDEOS [--segments-per-video N]

Listing, planning's bookkeeping, the choice of what is left, grouping into tasks, commits and the derived tables are
the product's own. Replaced are the two edges: probing gives every video the plan of one real clip, and decoding and
the model give every segment no rows.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from benchmarks.sampled import Sampled
from pipeline.cluster.memory import give_back_what_is_freed
from pipeline.extract import dataflow
from pipeline.extract.context import Planning, RunContext, Target
from pipeline.extract.model_actors import ModelActors
from pipeline.extract.progress import Display
from pipeline.extract.report import Reporting
from pipeline.extract.request import RunOptions
from pipeline.extract.results import Clockwork
from pipeline.extract.run import Run
from pipeline.extract.tally import LocalTally, Tally, private_bytes
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.records.model_info import ModelInfo, Preprocessing
from pipeline.records.resources import Hardware
from pipeline.records.schemas import EMBEDDED, TASKS
from pipeline.records.shards import WHOLE

CLUSTER = Hardware(num_cpus=64, num_gpus=4, num_nodes=8)
OPTIONS = RunOptions()
_SEGMENTS_PER_FILE = 4_096
_FACTS = {
    "stream_index": 0,
    "time_base": "1/15360",
    "origin_pts": 0,
    "start_pts": 0,
    "is_sequential": False,
    "frame_rate_hz": "30",
    "container": "mov,mp4,m4a,3gp,3g2,mj2",
    "codec": "h264",
    "pix_fmt": "yuv420p",
    "width": 1280,
    "height": 720,
    "rotation": 0,
    "duration_s": 600.0,
    "creation_time": None,
}


class Edges:
    """Stands in for Ray Data, the decoders and the model; counts its own time, which is not the driver's."""

    def __init__(self, *, segments_per_video: int, num_samples: int = 1, cost_s: float = 1.0) -> None:
        self.seconds = 0.0
        self.num_segments = 0
        self._segments = [segment(index, num_samples=num_samples, cost_s=cost_s) for index in range(segments_per_video)]

    def probe(self, sources: Sequence[pa.Table], *, planning: Planning, schema: pa.Schema) -> Iterator[pa.Table]:
        """Every video is planned alike."""
        outcome = {"facts": _FACTS, "segments": self._segments, "reason": None, "detail": None}
        for table in sources:
            with self._apart():
                planned = pa.Table.from_pylist([row | outcome for row in table.to_pylist()], schema=schema)
            yield planned

    def run_extract(self, tasks: Sequence[pa.Table], *, context: RunContext, models: object) -> None:
        """Every segment has no samples."""
        [target] = context.targets
        with self._apart():
            for table in _of_size(tasks, _SEGMENTS_PER_FILE):
                self.num_segments += len(table)
                target.dataset.publish_features(_embedded(table), target.info, token=target.token)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        used = time.thread_time()
        yield
        self.seconds += time.thread_time() - used


def segment(index: int, *, num_samples: int, cost_s: float) -> dict[str, Any]:
    """One of ten minutes, as the plan has it."""
    times = {"start_s": 600.0 * index, "end_s": 600.0 * (index + 1), "missing_start_s": None}
    pts = 15360 * 600 * index
    places = {"seek_to": pts, "key_pts": pts, "window_first": pts, "window_end": pts + 15360 * 600, "targets": None}
    return {"index": index, **places, **times, "num_samples": num_samples, "cost_s": cost_s}


def _of_size(tables: Sequence[pa.Table], size: int) -> Iterator[pa.Table]:
    """The same rows, ``size`` at a time."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= size:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _embedded(tasks: pa.Table) -> pa.Table:
    assert tasks.schema.names[: len(TASKS.names)] == TASKS.names
    segments = tasks["segment"].combine_chunks()
    count = len(tasks)
    empty = pa.array([[]] * count)
    columns = {
        "video_id": tasks["video_id"],
        "uri": tasks["uri"],
        "segment": segments.field("index"),
        "attempts": tasks["attempts"],
        "num_samples": pa.array([0] * count),
        "num_corrupt": pa.array([0] * count),
        "video_s": pa.array([600.0] * count),
        "time_base": pa.array([_FACTS["time_base"]] * count),
        "features": pa.array([b""] * count),
    }
    arrays = [columns.get(field.name, empty if pa.types.is_list(field.type) else pa.nulls(count)) for field in EMBEDDED]
    return pa.table(arrays, names=EMBEDDED.names).cast(EMBEDDED)


def dataset_info(*, dim: int = 512) -> DatasetInfo:
    """Of a model that is never loaded."""
    preprocessing = Preprocessing(
        resize_px=256, crop_px=(224, 224), interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    model = ModelInfo(name="resnet18", dim=dim, weights_digest="0" * 64, preprocessing=preprocessing)
    config = DatasetConfig(model=model, sample="fps:1", precision="fp32", dtype="float32")
    return DatasetInfo(config=config, weights="default")


def links(count: int, folder: Path) -> Path:
    """A folder of ``count`` names of one small file: listing, identifying and naming them is real."""
    clip = folder / "clip.bin"
    clip.write_bytes(b"x" * 1000)
    archive = folder / "archive"
    for number in range(count):
        if number % 1_000 == 0:
            inside = archive / f"{number // 1_000:06d}"
            inside.mkdir(parents=True)
        os.symlink(clip, inside / f"{number:09d}.mp4")
    return archive


def run(
    archive: Path,
    dataset: Dataset,
    edges: Edges,
    *,
    info: DatasetInfo,
    hardware: Hardware = CLUSTER,
    options: RunOptions = OPTIONS,
    tally: Tally | None = None,
) -> dict[str, float]:
    """One ``extract``, from the listing to the derived tables; the driver's own CPU seconds by phase."""
    marks: dict[str, float] = {}
    inputs = Inputs([str(archive)], exclude=dataset.store.uri, reserved=RESERVED_COLUMNS)
    clockwork = Clockwork()
    with leased(dataset, slot=WHOLE) as token:
        dataset.create(info)
        target = Target(dataset=dataset, info=info, token=token)
        context = RunContext.of(target, options=options, hardware=hardware, tally=tally or LocalTally())
        with Reporting(context, clockwork) as reporting:
            job = Run(context, display=Display(is_quiet=True), clockwork=clockwork, reporting=reporting)
            used = time.process_time() - edges.seconds
            job.extract(inputs)
            marks["plan and schedule"] = time.process_time() - edges.seconds
            job.finish()
            marks["derive"] = time.process_time() - edges.seconds
    spent = (after - before for before, after in pairwise([used, *marks.values()]))
    phases = dict(zip(marks, spent, strict=True))
    return {**phases, "all": sum(phases.values())}


def main() -> None:
    """Run, resume, and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("num_videos", type=int)
    parser.add_argument("--segments-per-video", type=int, default=1)
    asked = parser.parse_args()
    give_back_what_is_freed()
    with tempfile.TemporaryDirectory(prefix="vidlake-planned-") as folder:
        archive = links(asked.num_videos, Path(folder))
        dataset = Dataset.at(f"{folder}/lake")
        before_bytes = private_bytes(os.getpid())
        edges = Edges(segments_per_video=asked.segments_per_video)
        dataflow.probe = edges.probe
        dataflow.start_models = lambda context: cast(ModelActors, edges)
        dataflow.run_extract = edges.run_extract
        with Sampled() as sampled:
            first_s = run(archive, dataset, edges, info=dataset_info())
            num_segments = edges.num_segments
            again_s = run(archive, dataset, edges, info=dataset_info())
        assert edges.num_segments == num_segments, "settled segments were done again"
        files = [path.stat().st_size for path in Path(folder, "lake").rglob("*.parquet")]
    print(
        json.dumps(
            {
                "videos": asked.num_videos,
                "segments": num_segments,
                "cpu_s": first_s,
                "resume_cpu_s": again_s,
                "private_bytes_before": before_bytes,
                "private_bytes": sampled.most_private_bytes,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "files": len(files),
                "bytes": sum(files),
            }
        )
    )


if __name__ == "__main__":
    main()
