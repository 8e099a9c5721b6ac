"""One run over its datasets: plan and process what each has not settled, then bring derived tables up to date."""

from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from pipeline.extract.context import Place, RunContext
from pipeline.extract.flow import Flow
from pipeline.extract.listing import Listing
from pipeline.extract.planning import Planner, grouped
from pipeline.extract.progress import Display
from pipeline.extract.relisting import Relisting
from pipeline.extract.report import Reporting
from pipeline.extract.results import Clockwork, Filled, Outcome
from pipeline.extract.tally import counts_of
from pipeline.inputs.sources import Sources
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import (
    TASK_COLUMNS,
    Wanted,
    failures_in,
    num_signed_failures,
    unsettled_failures,
    unsettled_videos,
)
from pipeline.lake.pending_together import PendingTogether, Progress, pending_in, pending_of, pending_together
from pipeline.lake.plan_folding import fold_plan
from pipeline.lake.planned import Planned, publish_listed, replace_listed
from pipeline.lake.tables import derive
from pipeline.records.ids import Ids, in_all


class Run:
    """One run over its datasets, under the lease of each."""

    def __init__(self, context: RunContext, *, display: Display, clockwork: Clockwork, reporting: Reporting) -> None:
        self._context = context
        self._display = display
        self._clockwork = clockwork
        self._reporting = reporting
        self._windows = [context.of_outputs([at]).windows for at in range(len(context.outputs))]

    def extract(self, inputs: Sources) -> None:
        """Plan what is new in the input, and decode, embed and commit what of it is not settled, as it is planned."""
        progress = self._progress()
        flow = Flow(self._context, display=self._display)
        flow.run(partial(self._plan, inputs, progress, flow))
        self._clockwork.mark("extract")

    def _plan(self, inputs: Sources, progress: Sequence[Progress], flow: Flow) -> None:
        places = self._context.places
        planned = [self._plan_at(place, progress) for place in places]
        unsettled = Ids(unsettled_videos(each.planned, each.ledger).to_bytes() for each in progress)
        listing = Listing(inputs, self._context.options, planned=in_all([each.ids for each in planned]))
        wanted = Wanted(chosen=None, locators=listing.chosen.locators, is_retry=False)

        def tell(rows: pa.Table, of: Sequence[Place]) -> None:
            numbers = self._outputs_at(of)
            self._settle_failures(rows, numbers)
            ledgers = {at: progress[at].ledger for at in numbers}
            self._offer(pending_in(rows.select(TASK_COLUMNS), ledgers, wanted), flow)

        planner = Planner(self._context, planned, then=tell, is_awaited=lambda: flow.is_hungry)
        elsewhere = []
        for batch in listing.batches():
            known = batch.planned[unsettled.find(batch.planned) >= 0]
            if len(known):
                self._offer(pending_of(progress, wanted, known), flow)
            if len(batch.new):
                self._warm_up(flow)
                elsewhere.append(planner.add(batch.new, listing.plan_schema).to_bytes())
        for place in places:
            publish_listed(place.dataset, listing.videos, shard=self._context.options.shard, token=place.token)
        left = Ids(elsewhere)
        if len(left):
            self._offer(pending_of(self._progress(), wanted, left.to_bytes()), flow)
        self._clockwork.mark("plan")
        self._say_planned(flow)

    def retry(self) -> None:
        """Probe failed videos and decode failed segments once more."""
        places = self._context.places
        planned = [Planned(place.dataset) for place in places]
        planner = Planner(self._context, planned)
        for place, before in zip(places, planned, strict=True):
            relisting = Relisting(before)
            for videos in relisting.videos():
                planner.probe(videos, before.schema, places=[place])
            replace_listed(place.dataset, relisting.replaced, token=place.token)
        self._clockwork.mark("plan")
        progress = self._progress()
        if num_signed := max(num_signed_failures(each.planned, each.ledger) for each in progress):
            self._display.say(
                f"{num_signed} failed videos cannot be retried: their addresses were signed, which is not written down"
            )
        flow = Flow(self._context, display=self._display)
        pending = pending_together(progress, Wanted(chosen=None, locators={}, is_retry=True))
        flow.run(lambda: self._offer(pending, flow))
        self._clockwork.mark("extract")

    def finish(self) -> Outcome:
        """Bring the derived tables up to date and finish the run's report."""
        shard = self._context.options.shard
        for place in self._context.places:
            fold_plan(place.dataset, shard=shard, token=place.token)
        filled = [
            Filled(
                model=target.info.config.model.name,
                out=target.dataset.store.uri,
                totals=derive(target.dataset, shard=shard, token=target.token),
            )
            for target in self._context.targets
        ]
        stages = self._reporting.finish()
        decoded = counts_of(stages, "decode")
        return Outcome(
            datasets=tuple(filled),
            seconds=self._clockwork.marks["end"],
            num_samples=(decoded if self._context.keeps_inputs else counts_of(stages, "embed")).num_samples,
            video_s=decoded.video_s,
            num_bytes=counts_of(stages, "commit").num_bytes,
            decoded_frames=decoded.decoded_frames,
            marks_s=self._clockwork.marks,
        )

    def _progress(self) -> list[Progress]:
        """The plan of each output and what is settled of it.

        Videos that failed as a whole are settled first, in files of no rows.
        """
        planned = {place.dataset.store.uri: Planned(place.dataset) for place in self._context.places}
        found = []
        for output in self._context.outputs:
            plan, ledger = planned[output.dataset.store.uri], Ledger.of(output.settled_parts())
            for entries in unsettled_failures(plan, ledger):
                output.settle(entries)
            found.append(Progress(planned=plan, ledger=ledger))
        return found

    def _plan_at(self, place: Place, progress: Sequence[Progress]) -> Planned:
        """The plan at a place, which outputs that are there have in common."""
        return progress[self._outputs_at([place])[0]].planned

    def _offer(self, pending: Iterable[PendingTogether], flow: Flow) -> None:
        for each in pending:
            for _, together in grouped(each.lacking, self._windows):
                flow.offer(together, each.tasks)

    def _warm_up(self, flow: Flow) -> None:
        """Have the models start that most of what is new will need."""
        _, together = next(grouped(range(len(self._context.outputs)), self._windows))
        flow.warm_up(together)

    def _outputs_at(self, places: Sequence[Place]) -> list[int]:
        """The numbers of the outputs at some places."""
        uris = {place.dataset.store.uri for place in places}
        return [at for at, output in enumerate(self._context.outputs) if output.dataset.store.uri in uris]

    def _settle_failures(self, rows: pa.Table, numbers: Sequence[int]) -> None:
        """Settle, in the outputs with these numbers, those videos that could not be planned."""
        entries = failures_in(rows)
        for at in numbers if entries else ():
            self._context.outputs[at].settle(entries)

    def _say_planned(self, flow: Flow) -> None:
        known = flow.known()
        if not known.num_videos:
            return
        work = known.work
        self._display.say(
            f"planned: {known.num_videos} videos to do, {work.num_segments} segments, about {work.num_samples} samples "
            f"of {work.video_s / 3600:.2f} h{self._kept(work.num_samples)}"
        )

    def _kept(self, num_samples: int) -> str:
        """What of the disk the pictures take, where they are kept."""
        if not self._context.keeps_inputs:
            return ""
        target = self._context.targets[0]
        sample_bytes = target.info.config.model.preprocessing.sample_bytes
        size, where = f"{num_samples * sample_bytes / 1e6:.0f} MB", target.dataset.store.uri
        return f", keeping {num_samples} x {sample_bytes} bytes ({size}) of pictures in {where}"
