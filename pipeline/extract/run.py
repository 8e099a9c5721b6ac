"""One run over its datasets: plan what is new, process what each has not settled, bring derived tables up to date."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.context import RunContext
from pipeline.extract.listing import Chosen, Listing
from pipeline.extract.planning import Planner, grouped
from pipeline.extract.progress import Display
from pipeline.extract.relisting import Relisting
from pipeline.extract.report import Reporting
from pipeline.extract.results import Clockwork, Filled, Outcome
from pipeline.extract.sizes import Work
from pipeline.extract.tally import counts_of
from pipeline.extract.tasks import group_tables, work_of
from pipeline.inputs.sources import Sources
from pipeline.lake.ids import in_all
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import Wanted, num_signed_failures, unsettled_failures
from pipeline.lake.pending_together import PendingTogether, Progress, pending_together
from pipeline.lake.planned import Planned, publish_listed, replace_listed
from pipeline.lake.tables import derive

# A driver holds no more than this of what is left to do, however large the archive.
_SEGMENTS_AT_ONCE = 100_000


class Run:
    """One run over its datasets, under the lease of each."""

    def __init__(self, context: RunContext, *, display: Display, clockwork: Clockwork, reporting: Reporting) -> None:
        self._context = context
        self._display = display
        self._clockwork = clockwork
        self._reporting = reporting

    def plan(self, inputs: Sources) -> Chosen:
        """Plan what is new in the input; returns what of it this run is to process."""
        places = self._context.places
        planned = [Planned(place.dataset) for place in places]
        planner = Planner(self._context, planned, display=self._display)
        listing = Listing(inputs, self._context.options, planned=in_all([each.ids for each in planned]))
        for videos in listing.new_videos():
            planner.add(videos, listing.plan_schema)
        for place in places:
            publish_listed(place.dataset, listing.videos, shard=self._context.options.shard, token=place.token)
        self._clockwork.mark("plan")
        return listing.chosen

    def extract(self, chosen: Chosen) -> None:
        """Decode, embed and commit the segments of the ``chosen`` videos that are not settled yet."""
        wanted = Wanted(chosen=chosen.ids, locators=chosen.locators, is_retry=False)
        self._process(pending_together(self._progress(), wanted))

    def retry(self) -> None:
        """Probe failed videos and decode failed segments once more."""
        places = self._context.places
        planned = [Planned(place.dataset) for place in places]
        planner = Planner(self._context, planned, display=self._display)
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
        self._process(pending_together(progress, Wanted(chosen=None, locators={}, is_retry=True)))

    def finish(self) -> Outcome:
        """Bring the derived tables up to date and finish the run's report."""
        self._clockwork.mark("extract")
        shard = self._context.options.shard
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

    def _process(self, pending: Iterable[PendingTogether]) -> None:
        windows = [self._context.of_outputs([at]).windows for at in range(len(self._context.outputs))]
        for wave in _waves(pending):
            for lacking, parts in wave.items():
                for _, together in grouped(lacking, windows):
                    self._decode(parts, context=self._context.of_outputs(together))

    def _decode(self, parts: list[pa.Table], *, context: RunContext) -> None:
        """Decode segments, and whatever follows, for those outputs that the context has."""
        work = work_of(pa.chunked_array([chunk for part in parts for chunk in part["segment"].chunks]))
        context = context.sized_for(work)
        sizes = context.sizes
        num_videos = sum(len(pc.unique(part["video_id"])) for part in parts)
        self._display.say(
            f"{num_videos} videos to do{self._for_whom(context)}, {work.num_segments} segments, about "
            f"{work.num_samples} samples of {work.video_s / 3600:.2f} h: {sizes.decode_workers} decode workers, "
            f"{_beside_decoding(work, context)}"
        )
        run_stages = dataflow.run_extract if context.has_models else dataflow.run_decode
        with self._display.follow(context.tally, work=work, num_videos=num_videos, num_actors=sizes.num_actors):
            run_stages(group_tables(parts, task_s=sizes.task_s), context=context)

    def _for_whom(self, context: RunContext) -> str:
        *others, last = [output.label for output in context.outputs]
        names = f"{', '.join(others)} and {last}" if others else last
        return f" for {names}" if len(self._context.outputs) > 1 else ""


def _beside_decoding(work: Work, context: RunContext) -> str:
    if context.has_models:
        return f"{context.sizes.num_actors} model actors"
    if not context.targets:
        return "and no model"
    target = context.targets[0]
    sample_bytes = target.info.config.model.preprocessing.sample_bytes
    num_bytes, where = work.num_samples * sample_bytes, target.dataset.store.uri
    return f"keeping {work.num_samples} x {sample_bytes} bytes ({num_bytes / 1e6:.0f} MB) of pictures in {where}"


def _waves(pending: Iterable[PendingTogether]) -> Iterator[dict[tuple[int, ...], list[pa.Table]]]:
    """As much as a driver holds at once, by those that lack it."""
    wave: dict[tuple[int, ...], list[pa.Table]] = {}
    for each in pending:
        wave.setdefault(each.lacking, []).append(each.tasks)
        if sum(len(part) for parts in wave.values() for part in parts) >= _SEGMENTS_AT_ONCE:
            yield wave
            wave = {}
    if wave:
        yield wave
