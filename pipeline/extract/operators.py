"""What runs on Ray's workers: a block of rows in, blocks of the next stage's rows out. Free of Ray itself.

Workers import this module first; torch, which takes seconds, is imported by those that decode or embed, once they do.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.extract.context import Planning, RunContext, Target
from pipeline.extract.sizes import Sizes
from pipeline.extract.tally import Counts, Worked, private_bytes
from pipeline.media.process.sandbox import Sandbox
from pipeline.records.model_info import ModelInfo, Precision
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import clips_of, output_rows, table_of
from pipeline.stages.plan import plan_sources

_DECODE_NICENESS = 4


@lru_cache(maxsize=1)
def _sandbox(limits: DecodeLimits) -> Sandbox:
    """The decoder of this worker process, kept from task to task; both give way to the model."""
    os.nice(_DECODE_NICENESS)
    return Sandbox(limits)


def plan_block(sources: pa.Table, *, planning: Planning, schema: pa.Schema) -> pa.Table:
    """``SOURCES`` rows to rows of ``schema``: ``PLAN`` and a manifest's further columns."""
    began = time.time()
    sandbox = _sandbox(planning.options.limits)
    planned = plan_sources(
        sources,
        sandbox=sandbox,
        rule=planning.rule,
        sizing=planning.sizing,
        windows=planning.windows,
        shots=None if planning.shots is None else planning.shots.of_videos(sources["video_id"].to_pylist()),
    )
    planning.tally.add(Worked(stage="plan", began=began, counts=Counts(num_videos=len(planned))))
    return table_of([video.to_row() for video in planned], schema)


def decode_block(tasks: pa.Table, *, context: RunContext) -> Iterator[pa.Table]:
    """``TASKS`` rows to decoded segments, a table of ``samples_schema`` each."""
    from pipeline.models.preprocess import use_one_thread
    from pipeline.stages.decode import decode_tasks

    use_one_thread()
    sandbox = _sandbox(context.options.limits)
    began = time.time()
    decoded = decode_tasks(
        tasks,
        sandbox=sandbox,
        rule=context.rule,
        preprocessings=context.preprocessings,
        thumbnail_px=context.thumbnail_px,
        windows=context.windows,
    )
    for samples in decoded:
        counts = Counts(
            num_segments=1,
            num_samples=samples["num_samples"][0].as_py(),
            video_s=samples["video_s"][0].as_py(),
            num_bytes=samples.nbytes,
            decoded_frames=samples["decoded_frames"][0].as_py(),
        )
        memory = private_bytes(os.getpid(), sandbox.pid)
        context.tally.add(Worked(stage="decode", began=began, counts=counts, private_bytes=memory))
        yield samples
        began = time.time()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedModel:
    """A model as the workers know it, and how long it takes for a sample, or for a window of them."""

    info: ModelInfo
    sample_s: float


def time_model(
    name: str, *, weights: str, window: int | None, precision: Precision, sizes: Sizes, is_compiled: bool
) -> TimedModel:
    """Load a model as ``Embed`` does and time it, once warm.

    Raises:
        UsageError: there is no such model, or no such weights.
    """
    from pipeline.models.embedder import Embedder
    from pipeline.models.embedder_pool import EmbedderPool
    from pipeline.models.registry import load_model

    model = load_model(name, weights=weights, window=window)
    embedder = Embedder(
        model,
        precision=precision,
        compile=is_compiled,
        batch_size=sizes.batch_size,
        num_threads=sizes.actor_threads,
    )
    pool = EmbedderPool(embedder, num_workers=sizes.batches_at_once)
    return TimedModel(info=model.info, sample_s=pool.seconds_per_sample())


class Embed:
    """The actor that holds the models, one for each dataset that the run writes to."""

    def __init__(self, *, context: RunContext) -> None:
        """Load the models and make sure that they are the datasets' own."""
        self._tally = context.tally
        self._models = [_EmbeddingModel(target, context) for target in context.targets]

    def __call__(self, samples: pa.Table) -> pa.Table:
        """Decoded segments to the same segments with the features of each model."""
        began = time.time()
        outputs = output_rows(samples, [model.features_of(samples) for model in self._models])
        num_samples = sum(samples["num_samples"].to_pylist())
        counts = Counts(num_segments=len(samples), num_samples=num_samples, num_bytes=outputs.nbytes)
        self._tally.add(Worked(stage="embed", began=began, counts=counts, private_bytes=private_bytes(os.getpid())))
        return outputs


class _EmbeddingModel:
    """The model of one target, at work on its way of preparing samples."""

    def __init__(self, target: Target, context: RunContext) -> None:
        from pipeline.models.embedder import Embedder
        from pipeline.models.embedder_pool import EmbedderPool
        from pipeline.models.registry import load_model, load_shots_model

        config = target.info.config
        windows = config.windows
        if windows is not None and windows.keeps_samples:
            model = load_shots_model()
        else:
            length = None if windows is None else windows.length
            model = load_model(config.model.name, weights=target.info.weights, window=length)
        if model.info != config.model:
            raise UsageError(
                f"the weights of {config.model.name} at {target.info.weights} are not those that the dataset was made "
                "with: give --weights where those are"
            )
        self._place = context.place_of(target)
        self._windows = windows
        embedder = Embedder(
            model,
            precision=config.precision,
            compile=context.options.compile,
            batch_size=context.sizes.batch_size,
            num_threads=context.sizes.actor_threads,
        )
        self._embedders = EmbedderPool(embedder, num_workers=context.sizes.batches_at_once)

    def features_of(self, samples: pa.Table) -> NDArray[np.float32]:
        """``float32[sum T, D]`` of decoded segments."""
        from pipeline.stages.decode import samples_for_model
        from pipeline.stages.windows import kept_rows

        features = self._embedders.embed(samples_for_model(samples, self._embedders.info, place=self._place))
        windows = self._windows
        if windows is None or not windows.keeps_samples:
            return features
        return kept_rows(features, clips_of(samples), windows=windows)
