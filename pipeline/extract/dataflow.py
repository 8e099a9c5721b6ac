"""The main job on Ray Data: plan -> decode -> embed -> commit. The only home of ``ray.data``.

Workers import this module first; torch, which takes seconds, only those that decode or embed, once they do.
"""

import logging
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Datasink, TaskPoolStrategy
from ray.data._internal.execution.interfaces import TaskContext
from ray.data.block import Block
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import RunError
from pipeline.extract.memory import KEEPING_WHAT_IS_FREED
from pipeline.extract.sizes import Sizes
from pipeline.extract.tally import StageName, Tally, Worked, private_bytes, this_worker
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.planned import publish_plan
from pipeline.media.process.sandbox import Sandbox
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import embedded_rows, table_of
from pipeline.records.schemas import EMBEDDED
from pipeline.records.segments import Sizing
from pipeline.stages.plan import plan_sources

_PLAN_VIDEOS_PER_FILE = 5_000
_BLOCK_BYTES = 32 << 20
# A task whose worker dies is run again. Decoders die in a process of their own: this is a lost node, or no memory.
_RETRIES = 5
_DECODE_NICENESS = 4


class SharedTally:
    """A tally in an actor of its own, which takes no resources; copies of this all add to the same one."""

    def __init__(self) -> None:
        """Start the actor, on the driver's own node: no other that is lost takes the counts along."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        self._actor: Any = cast(Any, ray).remote(**options)(Tally).remote()

    def add(self, stage: StageName, *, began: float, **counts: Any) -> None:
        """Count in what this worker did since ``began``, without waiting; ``counts`` are fields of ``Worked``."""
        self._actor.add.remote(Worked(stage=stage, worker=this_worker(), began=began, ended=time.time(), **counts))

    def progress(self) -> dict[str, dict[str, float]]:
        """The totals so far, of each stage."""
        progress: dict[str, dict[str, float]] = ray.get(self._actor.progress.remote())
        return progress

    def snapshot(self) -> dict[str, Any]:
        """What was counted so far, of each worker."""
        snapshot: dict[str, Any] = ray.get(self._actor.snapshot.remote())
        return snapshot


def run_plan(
    sources: Sequence[pa.Table],
    *,
    dataset: Dataset,
    rule: SamplingRule,
    sizing: Sizing,
    schema: pa.Schema,
    limits: DecodeLimits,
    sizes: Sizes,
    token: str,
    tally: SharedTally,
) -> None:
    """Probe the videos of ``SOURCES`` blocks on the cluster and add them to the dataset's plan."""
    _quiet()
    _start_worker()
    settings = {"rule": rule, "sizing": sizing, "schema": schema, "limits": limits, "tally": tally}
    videos = ray.data.from_blocks(list(sources))
    planned = videos.map_batches(cast(Any, _plan), fn_kwargs=settings, **_per_block(sizes, num_blocks=len(sources)))
    planned.write_datasink(PlanSink(dataset, token), ray_remote_args={"num_cpus": sizes.commit_cpus})


def run_extract(
    tasks: Sequence[pa.Table],
    *,
    dataset: Dataset,
    info: DatasetInfo,
    limits: DecodeLimits,
    sizes: Sizes,
    is_compiled: bool,
    token: str,
    tally: SharedTally,
) -> None:
    """Decode the segments of ``TASKS`` blocks, embed their samples, and commit them to the dataset."""
    _quiet()
    settings = {"info": info, "limits": limits, "tally": tally}
    segments = ray.data.from_blocks(list(tasks))
    samples = segments.map_batches(cast(Any, _decode), fn_kwargs=settings, **_per_block(sizes, num_blocks=len(tasks)))
    # Ray Data runs the model in a thread that it starts itself, so it takes the environment to say how memory is kept.
    on_cpu = {} if sizes.actor_gpus else {"runtime_env": {"env_vars": KEEPING_WHAT_IS_FREED}}
    features = samples.map_batches(
        Embed,
        fn_constructor_kwargs={"info": info, "sizes": sizes, "is_compiled": is_compiled, "tally": tally},
        batch_format="pyarrow",
        batch_size=sizes.segments_per_call,
        compute=ActorPoolStrategy(size=sizes.num_actors),
        num_cpus=sizes.actor_cpus,
        num_gpus=sizes.actor_gpus or None,
        **cast(Any, on_cpu),
    )
    sink = FeatureSink(dataset, info, token=token, segments_per_file=sizes.segments_per_file, tally=tally)
    features.write_datasink(sink, ray_remote_args={"num_cpus": sizes.commit_cpus})


def _quiet() -> None:
    """Keep Ray Data's own logs and bars off the terminal."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    warnings.filterwarnings("ignore", message="`ray_remote_args_fn` is deprecated")
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # a small job's last batch
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _start_worker() -> None:
    """Have a worker ready for the first commit: those that plan will be decoding then, and another takes seconds."""
    cast(Any, ray).remote(num_cpus=0)(_do_nothing).remote()


def _do_nothing() -> None:
    """A task that has a worker import this module."""


def _per_block(sizes: Sizes, *, num_blocks: int) -> dict[str, Any]:
    return {
        "batch_size": None,
        "batch_format": "pyarrow",
        "compute": TaskPoolStrategy(min(sizes.decode_workers, num_blocks)),
        "num_cpus": sizes.decode_cpus,
        "ray_remote_args_fn": _bounded_retries,
    }


def _bounded_retries() -> dict[str, Any]:
    # Deprecated in favour of named parameters, of which none is `max_retries`; `_quiet` keeps the warning to itself.
    return {"max_retries": _RETRIES}


@lru_cache(maxsize=1)
def _sandbox(limits: DecodeLimits) -> Sandbox:
    """The decoder of this worker process, kept from task to task; both give way to the model."""
    os.nice(_DECODE_NICENESS)
    return Sandbox(limits)


def _plan(
    sources: pa.Table,
    *,
    rule: SamplingRule,
    sizing: Sizing,
    schema: pa.Schema,
    limits: DecodeLimits,
    tally: SharedTally,
) -> pa.Table:
    began = time.time()
    planned = plan_sources(sources, sandbox=_sandbox(limits), rule=rule, sizing=sizing)
    tally.add("plan", began=began, num_videos=len(planned))
    return table_of([video.to_row() for video in planned], schema)


def _decode(tasks: pa.Table, *, info: DatasetInfo, limits: DecodeLimits, tally: SharedTally) -> Iterator[pa.Table]:
    from pipeline.models.preprocess import use_one_thread
    from pipeline.stages.decode import decode_tasks

    use_one_thread()
    sandbox = _sandbox(limits)
    config = info.config
    rule = parse_rule(config.sample)
    began = time.time()
    decoded = decode_tasks(tasks, sandbox=sandbox, rule=rule, preprocessing=config.model.preprocessing)
    for samples in decoded:
        tally.add(
            "decode",
            began=began,
            num_segments=1,
            num_samples=samples["num_samples"][0].as_py(),
            video_s=samples["video_s"][0].as_py(),
            num_bytes=samples.nbytes,
            private_bytes=private_bytes(os.getpid(), sandbox.pid),
        )
        yield samples
        began = time.time()


class Embed:
    """The actor that holds the model."""

    def __init__(self, *, info: DatasetInfo, sizes: Sizes, is_compiled: bool, tally: SharedTally) -> None:
        """Load the model and make sure that it is the dataset's."""
        from pipeline.models.embedder import Embedder
        from pipeline.models.registry import load_model

        config = info.config
        model = load_model(config.model.name, weights=info.weights)
        if model.info != config.model:
            raise RunError(f"the weights of {config.model.name} changed while the run started: run it again")
        self._tally = tally
        self._model = config.model
        self._embedder = Embedder(
            model,
            precision=config.precision,
            compile=is_compiled,
            batch_size=sizes.batch_size,
            num_threads=sizes.actor_threads,
        )

    def __call__(self, samples: pa.Table) -> pa.Table:
        """``SAMPLES`` rows to ``EMBEDDED`` rows."""
        from pipeline.stages.decode import samples_for_model

        began = time.time()
        features = self._embedder.embed(samples_for_model(samples, self._model))
        embedded = embedded_rows(samples, features)
        self._tally.add(
            "embed",
            began=began,
            num_segments=len(samples),
            num_samples=len(features),
            num_bytes=embedded.nbytes,
            private_bytes=private_bytes(os.getpid()),
        )
        return embedded


class PlanSink(Datasink[int]):
    """Adds planned videos to the dataset's plan."""

    def __init__(self, dataset: Dataset, token: str) -> None:
        """Publish with the lease's ``token``."""
        self._dataset = dataset
        self._token = token

    @property
    def min_rows_per_write(self) -> int:
        """Videos a file."""
        return _PLAN_VIDEOS_PER_FILE

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> int:
        """Publish one file of the plan."""
        planned = pa.concat_tables(blocks)
        publish_plan(self._dataset, planned, token=self._token)
        return len(planned)


class FeatureSink(Datasink[int]):
    """Commits finished segments."""

    def __init__(
        self, dataset: Dataset, info: DatasetInfo, *, token: str, segments_per_file: int, tally: SharedTally
    ) -> None:
        """Publish with the lease's ``token``, ``segments_per_file`` at a time."""
        self._dataset = dataset
        self._info = info
        self._token = token
        self._segments_per_file = segments_per_file
        self._tally = tally

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
        num_bytes = self._dataset.publish_features(embedded, self._info, token=self._token)
        self._tally.add(
            "commit",
            began=began,
            num_segments=len(embedded),
            num_samples=sum(embedded["num_samples"].to_pylist()),
            num_bytes=num_bytes,
        )
        return len(embedded)
