"""What every bulk job begins with: datasets that no other run is at work on, their leases, and a cluster."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from pipeline.cluster.memory import give_back_what_is_freed
from pipeline.errors import RunError, UsageError
from pipeline.extract.destinations import ThumbnailPlace
from pipeline.extract.progress import Display
from pipeline.extract.request import RunOptions
from pipeline.extract.results import Clockwork
from pipeline.extract.short_reports import report_failure
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.records.resources import Hardware

if TYPE_CHECKING:
    from pipeline.cluster.start import Starting
    from pipeline.extract.run import Run


class Opened:
    """Datasets that no other run is at work on, and the cluster that is being started for them."""

    def __init__(
        self,
        datasets: Sequence[Dataset],
        options: RunOptions,
        *,
        cluster: "Starting",
        display: Display,
        clockwork: Clockwork,
    ) -> None:
        self._datasets = datasets
        self._options = options
        self._cluster = cluster
        self._display = display
        self.clockwork = clockwork
        self.has_begun = False
        """Whether a run reports what it does, and so also how it fails."""

    @cached_property
    def hardware(self) -> Hardware:
        """What the cluster has to give, once it is up."""
        hardware = hardware_of(self._cluster, self._options, display=self._display)
        self.clockwork.mark("ray")
        return hardware

    @contextlib.contextmanager
    def run(
        self, *infos: DatasetInfo, thumbnails: ThumbnailPlace | None = None, rows_per_file: int | None = None
    ) -> "Iterator[Run]":
        """A run that makes each dataset what its info says, under its lease, and reports what it does as it goes.

        Args:
            infos: of the datasets, but for one behind them that is opened for the thumbnails alone.
            thumbnails: that are made too; they go to one of the datasets.
            rows_per_file: where the options say nothing, and it is not to be chosen.
        """
        from pipeline.extract.context import RunContext, Target, ThumbnailTarget
        from pipeline.extract.report import Reporting
        from pipeline.extract.run import Run
        from pipeline.extract.shared_tally import SharedTally

        hardware = self.hardware
        with self._leased() as tokens:
            targets = []
            for dataset, info in zip(self._datasets, infos, strict=False):
                own = dataset.create(info)
                targets.append(Target(dataset=dataset, info=own, token=tokens[dataset.store.uri]))
            small = (
                None
                if thumbnails is None
                else ThumbnailTarget(
                    dataset=thumbnails.dataset,
                    token=tokens[thumbnails.dataset.store.uri],
                    longest_px=thumbnails.longest_px,
                    sample=thumbnails.sample,
                )
            )
            options = replace(self._options, rows_per_file=self._options.rows_per_file or rows_per_file)
            context = RunContext.of(*targets, options=options, hardware=hardware, tally=SharedTally(), thumbnails=small)
            self.has_begun = True
            with Reporting(context, self.clockwork) as reporting:
                yield Run(context, display=self._display, clockwork=self.clockwork, reporting=reporting)

    @contextlib.contextmanager
    def _leased(self) -> Iterator[dict[str, str]]:
        """The token of each dataset's lease, by its address; taken in one order, so that of two runs one goes on."""
        tokens: dict[str, str] = {}
        with contextlib.ExitStack() as leases:
            for dataset in sorted(self._datasets, key=lambda each: each.store.uri):
                tokens[dataset.store.uri] = leases.enter_context(leased(dataset, slot=self._options.shard))
            yield tokens


@contextlib.contextmanager
def opening(
    datasets: Sequence[Dataset], options: RunOptions, display: Display, clockwork: Clockwork
) -> Iterator[Opened]:
    """Make sure that no other run is at work on the datasets, and start or join the cluster meanwhile.

    What fails before a run has begun leaves its report too, in those datasets that there are.

    Raises:
        UsageError: another run is.
    """
    give_back_what_is_freed()
    for dataset in datasets:
        dataset.backend.check(slot=options.shard)
    from pipeline.cluster.start import starting

    with starting(options.address) as cluster:
        opened = Opened(datasets, options, cluster=cluster, display=display, clockwork=clockwork)
        try:
            yield opened
        except RunError as error:
            if not opened.has_begun and not isinstance(error, UsageError):
                report_failure(datasets, clockwork, error)
            raise


def hardware_of(cluster: "Starting", options: RunOptions, *, display: Display) -> Hardware:
    """What the cluster has to give, once it has what the options ask for."""
    return cluster.hardware(min_cpus=options.min_cpus or 0, min_gpus=options.min_gpus or 0, say=display.say)
