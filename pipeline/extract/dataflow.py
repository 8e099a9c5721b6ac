"""The bulk jobs on Ray Data.

The main one: plan -> decode -> embed -> commit; to train a network on, without embed. Predicting is a single stage,
whose tasks read features, ask the head and commit.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NotRequired, TypedDict, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.extract.context import Place, Planning, RunContext
from pipeline.extract.operators import Embed, TimedModel, decode_block, plan_block, time_model
from pipeline.extract.predict_operators import Predicting, parts_of, predict_block, work_blocks
from pipeline.extract.predict_operators import Work as PredictWork
from pipeline.extract.request import ModelChoice
from pipeline.extract.results import PredictedPart
from pipeline.extract.sinks import FeatureSinks, PlanSink
from pipeline.extract.sizes import Sizes
from pipeline.records.model_info import Precision

_BLOCK_BYTES = 32 << 20
_PREDICT_CPUS = 0.25
"""As for decoding (``sizes``): a task asks for less than it takes, and the number of tasks is capped instead."""
# A task whose worker dies is run again. Decoders die in a process of their own: this is a lost node, or no memory.
_RETRIES = 5


def run_plan(sources: Sequence[pa.Table], *, planning: Planning, places: Sequence[Place], schema: pa.Schema) -> None:
    """Probe the videos of ``SOURCES`` blocks on the cluster and add them, as rows of ``schema``, to datasets' plans."""
    _start_worker()
    planned = _planned(sources, planning=planning, schema=schema)
    planned.write_datasink(PlanSink(places), ray_remote_args={"num_cpus": planning.sizes.commit_cpus})


def probe(sources: Sequence[pa.Table], *, planning: Planning, schema: pa.Schema) -> Iterator[pa.Table]:
    """Probe the videos of ``SOURCES`` blocks on the cluster; their rows of ``schema`` come here and are not kept."""
    planned = _planned(sources, planning=planning, schema=schema)
    return iter(planned.iter_batches(batch_size=None, batch_format="pyarrow"))


def run_extract(tasks: Sequence[pa.Table], *, context: RunContext) -> None:
    """Decode the segments of ``TASKS`` blocks, embed their samples, and commit them to the run's datasets."""
    samples = _decoded(tasks, context=context)
    features = samples.map_batches(Embed, fn_constructor_kwargs={"context": context}, **_model_actors(context.sizes))
    features.write_datasink(FeatureSinks(context), ray_remote_args={"num_cpus": context.sizes.commit_cpus})


def run_decode(tasks: Sequence[pa.Table], *, context: RunContext) -> None:
    """Decode the segments of ``TASKS`` blocks and commit their samples, as the models take them."""
    samples = _decoded(tasks, context=context)
    samples.write_datasink(FeatureSinks(context), ray_remote_args={"num_cpus": context.sizes.commit_cpus})


def run_predict(work: PredictWork, *, predicting: Predicting, num_workers: int) -> Iterator[PredictedPart]:
    """Predict and commit the parts of the work, in ``num_workers`` tasks at once; tells of them once they are there."""
    _quiet()
    blocks = work_blocks(work, num_workers=num_workers)
    parts = ray.data.from_blocks(blocks)
    done = parts.map_batches(
        cast(Any, predict_block),
        fn_kwargs={"predicting": predicting},
        batch_size=None,
        batch_format="pyarrow",
        compute=TaskPoolStrategy(min(num_workers, len(blocks))),
        num_cpus=_PREDICT_CPUS,
        ray_remote_args_fn=_bounded_retries,
    )
    for rows in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from parts_of(rows)


def time_on_cluster(
    model: ModelChoice, *, window: int | None, precision: Precision, sizes: Sizes, is_compiled: bool
) -> TimedModel:
    """Time a model where it will run, with the share of a machine that one of its actors will have."""
    share = {"num_cpus": sizes.actor_cpus, "num_gpus": sizes.actor_gpus, "runtime_env": _memory_of_actors(sizes)}
    task = cast(Any, ray).remote(**share)(time_model)
    how = {"weights": model.weights, "window": window, "precision": precision, "sizes": sizes}
    timed: TimedModel = ray.get(task.remote(model.name, is_compiled=is_compiled, **how))
    return timed


def _decoded(tasks: Sequence[pa.Table], *, context: RunContext) -> ray.data.Dataset:
    _quiet()
    segments = ray.data.from_blocks(list(tasks))
    samples: ray.data.Dataset = segments.map_batches(
        cast(Any, decode_block), fn_kwargs={"context": context}, **_task_a_block(context.sizes, tasks)
    )
    return samples


def _planned(sources: Sequence[pa.Table], *, planning: Planning, schema: pa.Schema) -> ray.data.Dataset:
    _quiet()
    videos = ray.data.from_blocks(list(sources))
    settings = {"planning": planning, "schema": schema}
    how = _task_a_block(planning.sizes, sources)
    planned: ray.data.Dataset = videos.map_batches(cast(Any, plan_block), fn_kwargs=settings, **how)
    return planned


class _TaskABlock(TypedDict):
    batch_size: None
    batch_format: str
    compute: TaskPoolStrategy
    num_cpus: float
    ray_remote_args_fn: Callable[[], dict[str, int]]


class _ModelActors(TypedDict):
    batch_size: int
    batch_format: str
    compute: ActorPoolStrategy
    num_cpus: float
    num_gpus: float | None
    runtime_env: NotRequired[dict[str, dict[str, str]]]


def _task_a_block(sizes: Sizes, blocks: Sequence[pa.Table]) -> _TaskABlock:
    """How Ray Data runs a function that decodes: one task a block, and so many at once as there are decode workers."""
    return {
        "batch_size": None,
        "batch_format": "pyarrow",
        "compute": TaskPoolStrategy(min(sizes.decode_workers, len(blocks))),
        "num_cpus": sizes.decode_cpus,
        "ray_remote_args_fn": _bounded_retries,
    }


def _model_actors(sizes: Sizes) -> _ModelActors:
    """How Ray Data runs the actors that hold a model: so many segments a call, and each with its share of a GPU."""
    actors: _ModelActors = {
        "batch_size": sizes.segments_per_call,
        "batch_format": "pyarrow",
        "compute": ActorPoolStrategy(size=sizes.num_actors),
        "num_cpus": sizes.actor_cpus,
        "num_gpus": sizes.actor_gpus or None,
    }
    memory = _memory_of_actors(sizes)
    if memory is not None:
        actors["runtime_env"] = memory
    return actors


def _memory_of_actors(sizes: Sizes) -> dict[str, dict[str, str]] | None:
    # Ray Data runs the model in a thread that it starts itself, so it takes the environment to say how memory is kept.
    return None if sizes.actor_gpus else {"env_vars": KEEPING_WHAT_IS_FREED}


def _bounded_retries() -> dict[str, int]:
    """How often a task whose worker dies is run again."""
    # Deprecated in favour of named parameters, of which none is `max_retries`; `_quiet` keeps the warning to itself.
    return {"max_retries": _RETRIES}


def _quiet() -> None:
    """Keep Ray Data's own logs and bars off the terminal."""
    settings = DataContext.get_current()
    settings.enable_progress_bars = False
    settings.print_on_execution_start = False
    settings.target_max_block_size = _BLOCK_BYTES
    warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # a small job's last batch
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _start_worker() -> None:
    """Have a worker ready for the first commit: those that plan will be decoding then, and another takes seconds."""
    cast(Any, ray).remote(num_cpus=0)(_import_this_module).remote()


def _import_this_module() -> None:
    """A task without work: its worker has imported this module by the time that it runs."""
