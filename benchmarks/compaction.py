"""A dataset of real features in many small files, compacted: how fast, in how much memory, to what files.

python -m benchmarks.compaction [--gigabytes G]
"""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.planned import dataset_info
from benchmarks.stand_ins import NUM_SAMPLES, embedded
from pipeline.extract.tally import private_bytes
from pipeline.lake.compaction.compact import compact
from pipeline.lake.dataset import Dataset
from pipeline.records.shards import WHOLE

_DIM = 1280
_SEGMENTS_PER_VIDEO = 20
_SEGMENTS_PER_FILE = 10


def scattered(folder: str, *, num_bytes: float) -> Dataset:
    """A dataset whose files hold a few segments each, of any videos."""
    dataset = Dataset.at(folder)
    dataset.store.ensure_writable()
    held = dataset.backend.acquire(slot=WHOLE)
    info = dataset_info(dim=_DIM)
    dataset.create(info)
    num_videos = round(num_bytes / (NUM_SAMPLES * _DIM * 4 * _SEGMENTS_PER_VIDEO))
    segments = list(
        product([f"{number * 7919 % 99991:020x}" for number in range(num_videos)], range(_SEGMENTS_PER_VIDEO))
    )
    random.Random(0).shuffle(segments)
    rng = np.random.default_rng(0)
    for at in range(0, len(segments), _SEGMENTS_PER_FILE):
        some = segments[at : at + _SEGMENTS_PER_FILE]
        features = [np.maximum(0, rng.standard_normal((NUM_SAMPLES, _DIM), np.float32)) for _ in some]
        rows = [embedded(video, index, values) for (video, index), values in zip(some, features, strict=True)]
        dataset.publish_features(pa.concat_tables(rows), info, token=held.token)
    held.release()
    return dataset


def num_rows(features: Path) -> int:
    """Of all files of a folder, by their footers."""
    return sum(pq.read_metadata(path).num_rows for path in features.iterdir())


def main() -> None:
    """Make it, compact it, and print what it took as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vidlake-compaction-") as folder:
        source = scattered(f"{folder}/old", num_bytes=asked.gigabytes * 1e9)
        target = Dataset.at(f"{folder}/new")
        target.store.ensure_writable()
        held = target.backend.acquire(slot=WHOLE)
        before_bytes, began = private_bytes(os.getpid()), time.monotonic()
        done = compact(source, target, token=held.token)
        wall_s = time.monotonic() - began
        held.release()
        sizes = sorted(path.stat().st_size for path in Path(folder, "new/features").iterdir())
        rows_before, rows = (num_rows(Path(folder, name, "features")) for name in ("old", "new"))
        assert rows_before == done.num_samples == rows
    print(
        json.dumps(
            {
                "files_before": done.num_files_before,
                "files": done.num_files,
                "smallest_bytes": sizes[0],
                "bytes": sum(sizes),
                "wall_s": wall_s,
                "private_bytes_before": before_bytes,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
