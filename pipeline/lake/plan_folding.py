"""Small files of the plan, published as their videos were planned, become few: of a few thousand videos each."""

from collections.abc import Iterable, Iterator

import pyarrow.parquet as pq

from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import VIDEOS_PER_FILE, PlanFiles, Planned, publish_plan, stem_of
from pipeline.records.rows import concat
from pipeline.records.shards import Shard

# A file that is half full stays as it is: a run of each day would write the whole plan anew otherwise.
_SMALL = VIDEOS_PER_FILE // 2


def fold_plan(dataset: Dataset, *, shard: Shard, token: str) -> None:
    """Put the videos of small files together; shards, which may be at work side by side, leave each other's alone.

    A file goes once its videos are published in another. Killed in between, both are there, and each video counts once,
    as ``Planned`` says; the next run goes on from there.
    """
    if shard.count > 1:
        return
    names = PlanFiles(dataset.files).names()
    counted = dataset.files.read_each(names, lambda file, uri: pq.ParquetFile(file).metadata.num_rows)
    groups = [group for group in together(counted) if len(group) > 1]
    if not groups:
        return
    planned, fence = Planned(dataset), dataset.files.fence(token)
    for group in groups:
        rows = concat([planned.part(name) for name in group], planned.schema)
        published = {stem_of(name) for name in publish_plan(dataset, rows, token=token)}
        for name in group:
            if stem_of(name) not in published:
                fence.remove(name)


def together(counted: Iterable[tuple[str, int]]) -> Iterator[list[str]]:
    """Names of small files whose videos make one file: each with how many it holds."""
    group, total = list[str](), 0
    for name, num_videos in counted:
        if num_videos >= _SMALL:
            continue
        if total + num_videos > VIDEOS_PER_FILE:
            yield group
            group, total = [], 0
        group.append(name)
        total += num_videos
    if group:
        yield group
