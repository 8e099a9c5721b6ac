"""The bulk jobs on Ray Data.

The main one: decode -> commit, where a decode task has its samples embedded by the actors that hold the models
(``embedding``); to train a network on, without these. It is run wave by wave (``flow``), and beside it runs the probing
of the videos of waves to come. Predicting is a single stage, whose tasks read features, ask the head and commit.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypedDict, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import DataContext, TaskPoolStrategy

from pipeline.extract.context import Planning, RunContext
from pipeline.extract.embedding import decode_and_embed
from pipeline.extract.model_actors import ModelActors, environment_of_actors
from pipeline.extract.operators import Embed, TimedModel, decode_block, plan_block, time_model
from pipeline.extract.predict_operators import Predicting, parts_of, predict_block, work_blocks
from pipeline.extract.predict_operators import Work as PredictWork
from pipeline.extract.request import ModelChoice
from pipeline.extract.results import PredictedPart
from pipeline.extract.sinks import FeatureSinks
from pipeline.extract.sizes import Sizes
from pipeline.records.model_info import Precision

_BLOCK_BYTES = 32 << 20
# A task whose worker dies is run again. Decoders die in a process of their own: this is a lost node, or no memory.
_RETRIES = 5


def probe(sources: Sequence[pa.Table], *, planning: Planning, schema: pa.Schema) -> Iterator[pa.Table]:
    """Probe the videos of ``SOURCES`` blocks on the cluster; their rows of ``schema`` come here and are not kept."""
    _quiet()
    videos = ray.data.from_blocks(list(sources))
    planned = videos.map_batches(
        cast(Any, plan_block),
        fn_kwargs={"planning": planning, "schema": schema},
        **as_tasks(min(planning.sizes.plan_workers, len(sources)), batch_size=None, num_cpus=0),
    )
    return iter(planned.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))


def start_models(context: RunContext) -> ModelActors:
    """Have the actors start that hold the models of the run's targets."""
    return ModelActors(context.sizes, partial(Embed, context=context))


def run_extract(tasks: Sequence[pa.Table], *, context: RunContext, models: ModelActors) -> None:
    """Decode the segments of ``TASKS`` blocks, embed their samples, and commit them to the run's datasets."""
    _commit(_done(tasks, cast(Any, decode_and_embed), context=context, models=models), context=context)


def run_decode(tasks: Sequence[pa.Table], *, context: RunContext) -> None:
    """Decode the segments of ``TASKS`` blocks and commit their samples, as the models take them."""
    _commit(_done(tasks, cast(Any, decode_block), context=context), context=context)


def run_predict(work: PredictWork, *, predicting: Predicting, num_workers: int) -> Iterator[PredictedPart]:
    """Predict and commit the parts of the work, in ``num_workers`` tasks at once; tells of them once they are there."""
    _quiet()
    blocks = work_blocks(work, num_workers=num_workers)
    parts = ray.data.from_blocks(blocks)
    done = parts.map_batches(
        cast(Any, predict_block),
        fn_kwargs={"predicting": predicting},
        **as_tasks(min(num_workers, len(blocks)), batch_size=None, num_cpus=1),
    )
    for rows in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from parts_of(rows)


def time_on_cluster(
    model: ModelChoice, *, window: int | None, precision: Precision, sizes: Sizes, is_compiled: bool
) -> TimedModel:
    """Time a model where it will run, with the share of a machine that one of its actors will have."""
    share = {"num_cpus": 0, "num_gpus": sizes.actor_gpus or None, "runtime_env": environment_of_actors(sizes)}
    task = cast(Any, ray).remote(**share)(time_model)
    how = {"weights": model.weights, "window": window, "precision": precision, "sizes": sizes}
    timed: TimedModel = ray.get(task.remote(model.name, is_compiled=is_compiled, **how))
    return timed


def _done(tasks: Sequence[pa.Table], do: Any, *, context: RunContext, **given: object) -> ray.data.Dataset:
    """What decode tasks make of ``TASKS`` blocks."""
    _quiet()
    sizes = context.sizes
    segments = ray.data.from_blocks(list(tasks))
    done: ray.data.Dataset = segments.map_batches(
        do,
        fn_kwargs={"context": context, **given},
        **as_tasks(
            min(sizes.decode_tasks, len(tasks)),
            batch_size=None,
            num_cpus=sizes.decode_cpus,
            memory=_held_by_a_node(sizes.decode_memory_bytes),
        ),
    )
    return done


def _commit(outputs: ray.data.Dataset, *, context: RunContext) -> None:
    commits_at_once = context.sizes.commits_at_once
    outputs.write_datasink(FeatureSinks(context), ray_remote_args={"num_cpus": 0}, concurrency=commits_at_once)


def _held_by_a_node(num_bytes: int) -> int:
    """As much memory as that, or all of the smallest node that decodes: a task that asks for more is never run."""
    nodes = [node["Resources"] for node in cast(Any, ray).nodes() if node["Alive"]]
    held = [int(node.get("memory", num_bytes)) for node in nodes if node.get("CPU")]
    return min([num_bytes, *held])


class AsTasks(TypedDict):
    """The options of ``map_batches`` for a stage that runs as tasks."""

    batch_size: int | None
    batch_format: str
    compute: TaskPoolStrategy
    num_cpus: int
    ray_remote_args_fn: Callable[[], dict[str, float]]


def as_tasks(most: int, *, batch_size: int | None, num_cpus: float, memory: int = 0) -> AsTasks:
    """Have Ray Data run a function in at most so many tasks at once, on whole blocks where there is no ``batch_size``.

    Ray is told what a task asks for, and holds back what finds no room. Ray Data believes that it asks for nothing, for
    it gives each of the executions that go on at once (two waves, and the planning beside them) an equal share of the
    CPUs, and leaves the share of one that needs none idle.
    """
    # Ray Data fuses no stage that has such a function with those beside it: a commit would otherwise be of one call.
    # Deprecated in favour of named parameters, of which none is `max_retries`; `_quiet` keeps the warning to itself.
    told = {"max_retries": _RETRIES, "num_cpus": num_cpus, "memory": memory}
    return {
        "batch_size": batch_size,
        "batch_format": "pyarrow",
        "compute": TaskPoolStrategy(most),
        "num_cpus": 0,
        "ray_remote_args_fn": lambda: told,
    }


def _quiet() -> None:
    """Keep Ray Data's own logs and bars off the terminal."""
    settings = DataContext.get_current()
    settings.enable_progress_bars = False
    settings.print_on_execution_start = False
    settings.target_max_block_size = _BLOCK_BYTES
    warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
    warnings.filterwarnings("ignore", message="The maximum number of concurrent tasks")  # a small wave has fewer
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
