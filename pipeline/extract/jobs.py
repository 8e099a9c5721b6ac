"""What the commands do, from the first check to the last figure: ``extract``, ``retry``, ``compact``, ``plan`` ...

Ray and torch take seconds to import: they are imported where they are first needed, behind every check that can do
without them, and torch while Ray starts.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.extract.memory import give_back_what_is_freed
from pipeline.extract.progress import Display
from pipeline.extract.request import ExtractRequest, RunOptions
from pipeline.extract.results import Clockwork, Forecast, Outcome
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import pending_tasks
from pipeline.lake.planned import Planned
from pipeline.records.model_info import ModelInfo
from pipeline.records.resources import Hardware
from pipeline.records.shards import WHOLE, Shard

if TYPE_CHECKING:
    from pipeline.cluster.start import Starting


def run_extract(request: ExtractRequest, display: Display) -> Outcome:
    """Process what of the input is not settled yet.

    Raises:
        UsageError: the words or the dataset do not fit; nothing was touched.
        RunError: the run failed and can be resumed.
    """
    clockwork = Clockwork()
    give_back_what_is_freed()
    dataset = Dataset.at(request.out)
    inputs = Inputs(request.inputs, exclude=request.out, reserved=RESERVED_COLUMNS)
    known = dataset.info()
    if known is not None:
        _refuse_early(known, request, dataset)
    dataset.backend.check(shard=request.run.shard)
    from pipeline.cluster.start import starting

    with starting(request.run.address) as cluster:
        from pipeline.extract.run import Run
        from pipeline.models.registry import load_model

        model = load_model(request.model, weights=request.weights).info
        clockwork.mark("model")
        hardware = _hardware(cluster, request.run, display)
        clockwork.mark("ray")
        info = _info(request, model, known, hardware)
        dataset.check(info.config)
        with _writing(dataset, info, shard=request.run.shard) as token:
            run = Run(dataset, info, request.run, hardware=hardware, token=token, display=display, clockwork=clockwork)
            run.extract(run.plan(inputs))
            return run.finish()


def run_retry(uri: str, options: RunOptions, display: Display) -> Outcome:
    """Run again what was quarantined without rows; raises as ``run_extract`` does."""
    clockwork = Clockwork()
    give_back_what_is_freed()
    dataset = Dataset.at(uri)
    info = dataset.existing()
    dataset.backend.check(shard=WHOLE)
    from pipeline.cluster.start import starting

    with starting(options.address) as cluster:
        from pipeline.extract.run import Run

        hardware = _hardware(cluster, options, display)
        clockwork.mark("ray")
        with _writing(dataset, info, shard=WHOLE) as token:
            run = Run(dataset, info, options, hardware=hardware, token=token, display=display, clockwork=clockwork)
            run.retry()
            return run.finish()


def forecast(request: ExtractRequest, display: Display) -> Forecast:
    """Probe the input and measure the model; writes nothing, also where ``request.out`` is a dataset."""
    inputs = Inputs(request.inputs, exclude=request.out or None, reserved=RESERVED_COLUMNS)
    existing = Dataset.at(request.out) if request.out else None
    known = None if existing is None else existing.info()
    from pipeline.cluster.start import starting

    with tempfile.TemporaryDirectory(prefix="vidlake-plan-") as folder, starting(request.run.address) as cluster:
        from pipeline.extract.run import Run
        from pipeline.models.embedder import Embedder, seconds_per_sample
        from pipeline.models.registry import load_model

        model = load_model(request.model, weights=request.weights)
        embedder = Embedder(model, precision=request.precision or "fp32")
        sample_s = seconds_per_sample(embedder)
        hardware = _hardware(cluster, request.run, display)
        info = _info(request, model.info, known, hardware)
        if existing is not None:
            existing.check(info.config)
        scratch = Dataset.at(folder)
        with _writing(scratch, info, shard=WHOLE) as token:
            run = Run(
                scratch, info, request.run, hardware=hardware, token=token, display=display, clockwork=Clockwork()
            )
            chosen = run.plan(inputs)
            planned = Planned(scratch)
            ledger = Ledger.of((existing or scratch).settled_parts())
            tasks = pending_tasks(planned, ledger, chosen=chosen.ids)
            segments = [segment for part in tasks for segment in part["segment"].to_pylist()]
        return _forecast(planned, segments, info, sample_s=sample_s)


def _forecast(planned: Planned, segments: list[dict[str, Any]], info: DatasetInfo, *, sample_s: float) -> Forecast:
    parts = [part for _, part in planned.parts(["segments", "reason"])]
    num_planned = sum(len(cut) for part in parts for cut in part["segments"].to_pylist() if cut)
    num_samples = sum(segment["num_samples"] for segment in segments)
    value_bytes = 2 if info.config.dtype == "float16" else 4
    return Forecast(
        num_videos=len(planned.ids),
        num_unusable=sum(len(part) - part["reason"].null_count for part in parts),
        num_done=num_planned - len(segments),
        num_segments=len(segments),
        hours=sum(segment["end_s"] - segment["start_s"] for segment in segments) / 3600,
        num_samples=num_samples,
        decode_s=sum(segment["cost_s"] for segment in segments),
        model_s=num_samples * sample_s,
        num_bytes=num_samples * info.config.model.dim * value_bytes,
    )


def _hardware(cluster: "Starting", options: RunOptions, display: Display) -> Hardware:
    return cluster.hardware(min_cpus=options.min_cpus or 0, min_gpus=options.min_gpus or 0, say=display.say)


def _refuse_early(known: DatasetInfo, request: ExtractRequest, dataset: Dataset) -> None:
    """Compare what needs no model loaded, so that a slip of the finger is answered at once."""
    mine = known.config
    asked = DatasetConfig(
        model=replace(mine.model, name=request.model),
        sample=str(request.rule),
        precision=request.precision or mine.precision,
        dtype=request.dtype or mine.dtype,
    )
    dataset.check(asked)


def _info(request: ExtractRequest, model: ModelInfo, known: DatasetInfo | None, hardware: Hardware) -> DatasetInfo:
    config = DatasetConfig(
        model=model,
        sample=str(request.rule),
        precision=request.precision or (known.config.precision if known else hardware.usual_precision),
        dtype=request.dtype or (known.config.dtype if known else "float32"),
    )
    return DatasetInfo(config=config, weights=request.weights)


@contextlib.contextmanager
def _writing(dataset: Dataset, info: DatasetInfo, *, shard: Shard) -> Iterator[str]:
    """The lease of a shard of a dataset that exists, or now does."""
    with leased(dataset, shard=shard) as token:
        dataset.create(info)
        yield token
