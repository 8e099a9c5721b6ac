"""Predicting on Ray Data: one stage, whose tasks read features, ask the head and commit."""

from collections.abc import Iterator
from typing import Any, cast

import ray.data
from ray.data import TaskPoolStrategy

from pipeline.extract.dataflow import be_quiet, bounded_retries
from pipeline.extract.predict_operators import Predicting, Work, parts_of, predict_block, work_blocks
from pipeline.extract.results import PredictedPart

_TASK_CPUS = 0.25
"""As for decoding (``sizes``): a task asks for less than it takes, and the number of tasks is capped instead."""


def run_predict(work: Work, *, predicting: Predicting, num_workers: int) -> Iterator[PredictedPart]:
    """Predict and commit the parts of the work, in ``num_workers`` tasks at once; tells of them once they are there."""
    be_quiet()
    blocks = work_blocks(work, num_workers=num_workers)
    parts = ray.data.from_blocks(blocks)
    done = parts.map_batches(
        cast(Any, predict_block),
        fn_kwargs={"predicting": predicting},
        batch_size=None,
        batch_format="pyarrow",
        compute=TaskPoolStrategy(min(num_workers, len(blocks))),
        num_cpus=_TASK_CPUS,
        ray_remote_args_fn=bounded_retries,
    )
    for rows in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from parts_of(rows)
