"""Where a stage's rows leave Ray Data: planned videos and finished segments are published in the run's dataset."""

import time
from collections.abc import Iterable

import pyarrow as pa
from ray.data import Datasink
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.block import Block

from pipeline.extract.context import RunContext
from pipeline.extract.tally import Counts, Worked
from pipeline.records.schemas import EMBEDDED

_PLAN_VIDEOS_PER_FILE = 5_000


class PlanSink(Datasink[int]):
    """Adds planned videos to the dataset's plan."""

    def __init__(self, context: RunContext) -> None:
        self._target = context.target

    @property
    def min_rows_per_write(self) -> int:
        """Videos a file."""
        return _PLAN_VIDEOS_PER_FILE

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> int:
        """Publish one file of the plan."""
        planned = pa.concat_tables(blocks)
        self._target.dataset.publish_plan(planned, token=self._target.token)
        return len(planned)


class FeatureSink(Datasink[int]):
    """Commits finished segments."""

    def __init__(self, context: RunContext) -> None:
        self._target = context.target
        self._segments_per_file = context.sizes.segments_per_file
        self._tally = context.tally

    @property
    def min_rows_per_write(self) -> int:
        """Segments a file: a row is a segment, and Ray never splits a row."""
        return self._segments_per_file

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> int:
        """Publish one features file."""
        began = time.time()
        embedded = pa.concat_tables([block for block in blocks if len(block)] or [EMBEDDED.empty_table()])
        if not len(embedded):
            return 0
        num_bytes = self._target.dataset.publish_features(embedded, self._target.info, token=self._target.token)
        num_samples = sum(embedded["num_samples"].to_pylist())
        counts = Counts(num_segments=len(embedded), num_samples=num_samples, num_bytes=num_bytes)
        self._tally.add(Worked(stage="commit", began=began, counts=counts))
        return len(embedded)
