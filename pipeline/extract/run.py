"""One run over one dataset: plan what is new, process what is not settled, bring the derived tables up to date."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.context import RunContext
from pipeline.extract.listing import Chosen, Listing
from pipeline.extract.progress import Display
from pipeline.extract.relisting import Relisting
from pipeline.extract.report import Reporting
from pipeline.extract.results import Clockwork, Outcome
from pipeline.extract.sizes import Work
from pipeline.extract.tally import counts_of
from pipeline.extract.tasks import group_tables
from pipeline.inputs.sources import Sources
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import num_signed_failures, pending_tasks, unsettled_failures
from pipeline.lake.planned import Planned, publish_listed, publish_plan, replace_listed
from pipeline.lake.tables import derive
from pipeline.records.resources import Hardware

_PLAN_VIDEOS_PER_TASK = 32
# A driver holds no more than this of what is left to do, however large the archive.
_SEGMENTS_AT_ONCE = 100_000


class Run:
    """One run over one dataset, under its lease."""

    def __init__(self, context: RunContext, *, display: Display, clockwork: Clockwork, reporting: Reporting) -> None:
        self._context = context
        # The stages write to several datasets; a run that asks each of them what it lacks is still to be written.
        [self._target] = context.targets
        self._display = display
        self._clockwork = clockwork
        self._reporting = reporting

    def plan(self, inputs: Sources) -> Chosen:
        """Plan what is new in the input; returns what of it this run is to process."""
        listing = Listing(inputs, self._context.options, planned=Planned(self._target.dataset).ids)
        for videos in listing.new_videos():
            self._plan_videos(videos, listing.plan_schema)
        shard, token = self._context.options.shard, self._target.token
        publish_listed(self._target.dataset, listing.videos, shard=shard, token=token)
        self._clockwork.mark("plan")
        return listing.chosen

    def extract(self, chosen: Chosen) -> None:
        """Decode, embed and commit the segments of the ``chosen`` videos that are not settled yet."""
        planned, ledger = self._planned()
        self._process(pending_tasks(planned, ledger, chosen=chosen.ids, locators=chosen.locators))

    def retry(self) -> None:
        """Probe failed videos and decode failed segments once more."""
        planned = Planned(self._target.dataset)
        relisting = Relisting(planned)
        for videos in relisting.videos():
            self._plan_videos(videos, planned.schema)
        replace_listed(self._target.dataset, relisting.replaced, token=self._target.token)
        self._clockwork.mark("plan")
        planned, ledger = self._planned()
        if num_signed := num_signed_failures(planned, ledger):
            self._display.say(
                f"{num_signed} failed videos cannot be retried: their addresses were signed, which is not written down"
            )
        self._process(pending_tasks(planned, ledger, is_retry=True))

    def finish(self) -> Outcome:
        """Bring the derived tables up to date and finish the run's report."""
        self._clockwork.mark("extract")
        dataset = self._target.dataset
        totals = derive(dataset, shard=self._context.options.shard, token=self._target.token)
        stages = self._reporting.finish()
        return Outcome(
            out=dataset.store.uri,
            totals=totals,
            seconds=self._clockwork.marks["end"],
            num_samples=counts_of(stages, "decode" if self._context.keeps_inputs else "embed").num_samples,
            video_s=counts_of(stages, "decode").video_s,
            num_bytes=counts_of(stages, "commit").num_bytes,
            marks_s=self._clockwork.marks,
        )

    def _plan_videos(self, videos: pa.Table, schema: pa.Schema) -> None:
        """Add videos to the plan, as rows of ``schema``; those that are known to be absent are not probed."""
        absent = videos.filter(pc.is_valid(videos["reason"]))
        if len(absent):
            publish_plan(self._target.dataset, _fitted(absent, schema), token=self._target.token)
        present = videos.filter(pc.is_null(videos["reason"])).drop_columns(["reason", "detail"])
        if not len(present):
            return
        self._display.say(f"planning {len(present)} videos")
        blocks = plan_blocks(present, self._context.hardware)
        dataflow.run_plan(blocks, context=self._context, schema=schema)

    def _planned(self) -> tuple[Planned, Ledger]:
        """The plan and what is settled of it; videos that failed as a whole are settled first, in files of no rows."""
        planned, ledger = Planned(self._target.dataset), Ledger.of(self._target.dataset.settled_parts())
        for entries in unsettled_failures(planned, ledger):
            self._target.dataset.settle(entries, self._target.info, token=self._target.token)
        return planned, ledger

    def _process(self, parts: Iterable[pa.Table]) -> None:
        for wave in _waves(parts):
            segments = pa.chunked_array([chunk for part in wave for chunk in part["segment"].chunks])
            work = work_of(segments)
            context = self._context.sized_for(work)
            sizes = context.sizes
            num_videos = sum(len(pc.unique(part["video_id"])) for part in wave)
            self._display.say(
                f"{num_videos} videos to do, {work.num_segments} segments, about {work.num_samples} samples of "
                f"{work.video_s / 3600:.2f} h: {sizes.decode_workers} decode workers, {self._beside_decoding(work)}"
            )
            run_stages = dataflow.run_decode if context.keeps_inputs else dataflow.run_extract
            with self._display.follow(context.tally, work=work, num_videos=num_videos, num_actors=sizes.num_actors):
                run_stages(group_tables(wave, task_s=sizes.task_s), context=context)

    def _beside_decoding(self, work: Work) -> str:
        context = self._context
        if not context.keeps_inputs:
            return f"{context.sizes.num_actors} model actors"
        sample_bytes = self._target.info.config.model.preprocessing.sample_bytes
        num_bytes = work.num_samples * sample_bytes
        where = self._target.dataset.store.uri
        return f"keeping {work.num_samples} x {sample_bytes} bytes ({num_bytes / 1e6:.0f} MB) of pictures in {where}"


def plan_blocks(videos: pa.Table, hardware: Hardware) -> list[pa.Table]:
    """Videos to probe, a block for each task: few for the driver's sake, but enough for all CPUs."""
    size = max(1, min(_PLAN_VIDEOS_PER_TASK, len(videos) // (2 * hardware.num_cpus)))
    return [videos.slice(at, size) for at in range(0, len(videos), size)]


def work_of(segments: pa.ChunkedArray) -> Work:
    """How much work these segments of a plan are."""
    return Work(
        num_segments=len(segments),
        num_samples=int(_sum(segments, "num_samples")),
        cost_s=_sum(segments, "cost_s"),
        video_s=_sum(segments, "end_s") - _sum(segments, "start_s"),
    )


def _fitted(videos: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same rows in the columns of ``schema``, without those that it lacks, and null where they have none."""
    columns = [
        videos[each.name] if each.name in videos.column_names else pa.nulls(len(videos), each.type) for each in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _waves(parts: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    wave: list[pa.Table] = []
    for part in parts:
        wave.append(part)
        if sum(map(len, wave)) >= _SEGMENTS_AT_ONCE:
            yield wave
            wave = []
    if wave:
        yield wave


def _sum(segments: pa.ChunkedArray, name: str) -> float:
    total: float = pc.sum(pc.struct_field(segments, name)).as_py() or 0
    return total
