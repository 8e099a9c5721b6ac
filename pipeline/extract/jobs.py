"""What the commands do, from the first check to the last figure: ``extract``, ``retry``, ``compact``, ``plan`` ...

Ray and torch take seconds to import: they are imported where they are first needed, behind every check that can do
without them, and torch while Ray starts.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.extract.memory import give_back_what_is_freed
from pipeline.extract.progress import Display
from pipeline.extract.request import ExtractRequest, RunOptions
from pipeline.extract.results import Clockwork, Forecast, Outcome
from pipeline.extract.sizes import NO_WORK, choose_sizes
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.lake.trust import trusted
from pipeline.records.model_info import ModelInfo, Precision
from pipeline.records.resources import Hardware
from pipeline.records.shards import Shard

if TYPE_CHECKING:
    from pipeline.cluster.start import Starting
    from pipeline.extract.run import Run


def run_extract(request: ExtractRequest, display: Display) -> Outcome:
    """Process what of the input is not settled yet.

    Raises:
        UsageError: the request or the dataset does not fit; nothing was touched.
        RunError: the run failed and can be resumed.
    """
    clockwork = Clockwork()
    dataset = Dataset.at(request.out)
    inputs = Inputs(request.inputs, exclude=request.out, reserved=RESERVED_COLUMNS)
    known = dataset.info()
    if known is not None:
        _refuse_early(known, request, dataset)
    with opening(dataset, request.run, display, clockwork) as opened:
        from pipeline.models.registry import load_model

        model = load_model(request.model, weights=request.weights).info
        opened.clockwork.mark("model")
        info = _info(request, model, known, opened.hardware)
        dataset.check(info.config)
        with opened.run(info) as run:
            run.extract(run.plan(inputs))
            return run.finish()


def run_retry(
    uri: str, options: RunOptions, display: Display, *, model: str | None = None, weights: str | None = None
) -> Outcome:
    """Run again what was quarantined without rows; raises as ``run_extract`` and ``trusted`` do.

    Args:
        uri: of the dataset.
        options: of the run.
        display: where it says how it goes.
        model: the command line's ``--model``: metadata must not choose by itself what code is run.
        weights: the command line's ``--weights``, as for ``model``.
    """
    clockwork = Clockwork()
    dataset = Dataset.at(uri)
    info = trusted(dataset.existing(), uri=uri, model=model, weights=weights)
    with opening(dataset, options, display, clockwork) as opened, opened.run(info) as run:
        run.retry()
        return run.finish()


class Opened:
    """A dataset that no other run is at work on, and the cluster that is being started for it."""

    def __init__(
        self,
        dataset: Dataset,
        options: RunOptions,
        *,
        cluster: "Starting",
        display: Display,
        clockwork: Clockwork,
    ) -> None:
        self._dataset = dataset
        self._options = options
        self._cluster = cluster
        self._display = display
        self.clockwork = clockwork

    @cached_property
    def hardware(self) -> Hardware:
        """What the cluster has to give, once it is up."""
        hardware = _hardware(self._cluster, self._options, self._display)
        self.clockwork.mark("ray")
        return hardware

    @contextlib.contextmanager
    def run(self, info: DatasetInfo, *, rows_per_file: int | None = None) -> "Iterator[Run]":
        """A run that makes the dataset what ``info`` says, under its lease, and reports what it does as it goes.

        ``rows_per_file``: where the options say nothing, and it is not to be chosen.
        """
        from pipeline.extract.context import RunContext, Target
        from pipeline.extract.report import Reporting
        from pipeline.extract.run import Run
        from pipeline.extract.shared_tally import SharedTally

        hardware = self.hardware
        with _writing(self._dataset, info, shard=self._options.shard) as token:
            target = Target(dataset=self._dataset, info=info, token=token)
            options = replace(self._options, rows_per_file=self._options.rows_per_file or rows_per_file)
            context = RunContext.of(target, options=options, hardware=hardware, tally=SharedTally())
            with Reporting(context, self.clockwork) as reporting:
                yield Run(context, display=self._display, clockwork=self.clockwork, reporting=reporting)


@contextlib.contextmanager
def opening(dataset: Dataset, options: RunOptions, display: Display, clockwork: Clockwork) -> Iterator[Opened]:
    """Make sure that no other run is at work on the dataset, and start or join the cluster meanwhile.

    Raises:
        UsageError: another run is.
    """
    give_back_what_is_freed()
    dataset.backend.check(shard=options.shard)
    from pipeline.cluster.start import starting

    with starting(options.address) as cluster:
        yield Opened(dataset, options, cluster=cluster, display=display, clockwork=clockwork)


def forecast(request: ExtractRequest, display: Display) -> Forecast:
    """Probe the input and time the model on the cluster; writes nothing, also where ``request.out`` is a dataset."""
    inputs = Inputs(request.inputs, exclude=request.out or None, reserved=RESERVED_COLUMNS)
    dataset = Dataset.at(request.out) if request.out else None
    known = None if dataset is None else dataset.info()
    if dataset is not None and known is not None:
        _refuse_early(known, request, dataset)
    from pipeline.cluster.start import starting

    with starting(request.run.address) as cluster:
        from pipeline.extract.dataflow import time_on_cluster
        from pipeline.extract.forecast import forecast_run

        hardware = _hardware(cluster, request.run, display)
        sizes = choose_sizes(hardware, NO_WORK, request.run)
        precision = _precision(request, known, hardware)
        timed = time_on_cluster(request, precision=precision, sizes=sizes)
        config = _info(request, timed.info, known, hardware).config
        if dataset is not None:
            dataset.check(config)
        return forecast_run(
            inputs,
            request,
            dataset=dataset,
            config=config,
            hardware=hardware,
            sizes=sizes,
            sample_s=timed.sample_s,
        )


def _hardware(cluster: "Starting", options: RunOptions, display: Display) -> Hardware:
    return cluster.hardware(min_cpus=options.min_cpus or 0, min_gpus=options.min_gpus or 0, say=display.say)


def _refuse_early(known: DatasetInfo, request: ExtractRequest, dataset: Dataset) -> None:
    """Compare the settings that are known before the model is loaded, so that a mistake is told at once."""
    mine = known.config
    requested = DatasetConfig(
        model=replace(mine.model, name=request.model),
        sample=str(request.rule),
        precision=request.precision or mine.precision,
        dtype=request.dtype or mine.dtype,
    )
    dataset.check(requested)


def _precision(request: ExtractRequest, known: DatasetInfo | None, hardware: Hardware) -> Precision:
    return request.precision or (known.config.precision if known else hardware.usual_precision)


def _info(request: ExtractRequest, model: ModelInfo, known: DatasetInfo | None, hardware: Hardware) -> DatasetInfo:
    config = DatasetConfig(
        model=model,
        sample=str(request.rule),
        precision=_precision(request, known, hardware),
        dtype=request.dtype or (known.config.dtype if known else "float32"),
    )
    return DatasetInfo(config=config, weights=request.weights)


@contextlib.contextmanager
def _writing(dataset: Dataset, info: DatasetInfo, *, shard: Shard) -> Iterator[str]:
    """Hold the lease of a shard of the dataset, which is made where there is none yet."""
    with leased(dataset, shard=shard) as token:
        dataset.create(info)
        yield token
