"""One run over one dataset: plan what is new, process what is not settled, bring the derived tables up to date."""

import itertools
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.progress import Display
from pipeline.extract.request import RunOptions
from pipeline.extract.results import Clockwork, Outcome
from pipeline.extract.sizes import Work, choose_sizes
from pipeline.extract.tasks import group_tables
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import listed_video
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.ids import Ids
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import failed_plans, pending_tasks, unsettled_failures
from pipeline.lake.planned import Planned, plan_schema, publish_listed, publish_plan
from pipeline.lake.tables import derive
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.documents import Document
from pipeline.records.resources import Hardware
from pipeline.records.rows import table_of
from pipeline.records.schemas import PLAN, SOURCES
from pipeline.records.videos import ListedVideo
from pipeline.stages.plan import sizing_for

_PLAN_VIDEOS_PER_TASK = 32
# A driver holds no more than this of what is left to do, however large the archive.
_VIDEOS_AT_ONCE = 20_000
_SEGMENTS_AT_ONCE = 100_000


class Run:
    """One run over one dataset, under its lease."""

    def __init__(
        self,
        dataset: Dataset,
        info: DatasetInfo,
        options: RunOptions,
        *,
        hardware: Hardware,
        token: str,
        display: Display,
        clockwork: Clockwork,
    ) -> None:
        self._dataset = dataset
        self._info = info
        self._options = options
        self._hardware = hardware
        self._token = token
        self._display = display
        self._clockwork = clockwork
        self._tally = dataflow.SharedTally()

    def plan(self, inputs: Inputs) -> "Chosen":
        """Plan what is new in the input; returns what of it this run is to process."""
        planned = Planned(self._dataset).ids
        listed, chosen = Ids(), Chosen()
        schema = plan_schema(inputs.fields)

        def new_rows() -> Iterator[Document]:
            for source in inputs:
                video = listed_video(source, attempts=1)
                if not self._options.shard.holds(video.video_id):
                    continue
                listed.add(video.video_id)
                if self._options.limit is None or chosen.num_videos < self._options.limit:
                    chosen.add(video)
                    if video.video_id not in planned:
                        yield video.to_row()

        for rows in _batched(new_rows(), _VIDEOS_AT_ONCE):
            self._plan_rows(rows, schema)
        publish_listed(self._dataset, listed, shard=self._options.shard, token=self._token)
        self._clockwork.mark("plan")
        return chosen

    def extract(self, chosen: "Chosen") -> None:
        """Decode, embed and commit the segments of the ``chosen`` videos that are not settled yet."""
        planned, ledger = Planned(self._dataset), Ledger.of(self._dataset.settled_parts())
        self._settle_failed(planned, ledger)
        self._process(pending_tasks(planned, ledger, chosen=chosen.ids, locators=chosen.locators))

    def retry(self) -> None:
        """Probe failed videos and decode failed segments once more."""
        planned = Planned(self._dataset)
        for failed in failed_plans(planned):
            rows = [row | {"attempts": row["attempts"] + 1, "locator": row["uri"]} for row in failed.to_pylist()]
            self._plan_rows([row | {"reason": None, "detail": None} for row in rows], planned.schema)
        self._clockwork.mark("plan")
        planned, ledger = Planned(self._dataset), Ledger.of(self._dataset.settled_parts())
        self._settle_failed(planned, ledger)
        self._process(pending_tasks(planned, ledger, is_retry=True))

    def finish(self) -> Outcome:
        """Bring the derived tables up to date and write the run's report."""
        self._clockwork.mark("extract")
        found = derive(self._dataset, shard=self._options.shard, token=self._token)
        stages = self._tally.snapshot()
        self._clockwork.mark("end")
        marks = self._clockwork.marks
        began = datetime.fromtimestamp(self._clockwork.began, UTC)
        report = {"began": began.isoformat(), "marks_s": marks, "stages": stages}
        name = f"_vidlake/runs/{began:%Y%m%dT%H%M%S}-{self._token[-8:]}.json"
        self._dataset.store.publish(name, json.dumps(report).encode())
        return Outcome(
            out=self._dataset.store.uri,
            totals=found,
            seconds=marks["end"],
            num_samples=int(stages.get("embed", {}).get("num_samples", 0)),
            video_s=float(stages.get("decode", {}).get("video_s", 0.0)),
            num_bytes=int(stages.get("commit", {}).get("num_bytes", 0)),
            marks_s=marks,
        )

    def _plan_rows(self, rows: list[Document], schema: pa.Schema) -> None:
        absent = [row for row in rows if row["reason"] is not None]
        if absent:
            publish_plan(self._dataset, table_of(absent, schema), token=self._token)
        present = [row for row in rows if row["reason"] is None]
        if not present:
            return
        self._display.say(f"planning {len(present)} videos")
        sources = pa.schema([*SOURCES, *(field for field in schema if field.name not in PLAN.names)])
        size = max(1, min(_PLAN_VIDEOS_PER_TASK, len(present) // (2 * self._hardware.num_cpus)))
        dataflow.run_plan(
            [table_of(some, sources) for some in _batched(iter(present), size)],
            dataset=self._dataset,
            rule=parse_rule(self._info.config.sample),
            sizing=sizing_for(self._info.config.model.preprocessing, duration_s=self._options.segment_seconds),
            schema=schema,
            limits=self._options.limits,
            sizes=choose_sizes(self._hardware, Work(num_segments=0, num_samples=0, cost_s=0), self._options),
            token=self._token,
            tally=self._tally,
        )

    def _settle_failed(self, planned: Planned, ledger: Ledger) -> None:
        """Settle the videos that failed as a whole, in files of no rows."""
        for entries in unsettled_failures(planned, ledger):
            self._dataset.settle(entries, self._info, token=self._token)

    def _process(self, parts: Iterable[pa.Table]) -> None:
        for wave in _waves(parts):
            segments = pa.chunked_array([chunk for part in wave for chunk in part["segment"].chunks])
            work = Work(
                num_segments=len(segments), num_samples=_sum(segments, "num_samples"), cost_s=_sum(segments, "cost_s")
            )
            total_s = _sum(segments, "end_s") - _sum(segments, "start_s")
            sizes = choose_sizes(self._hardware, work, self._options)
            num_videos = sum(len(pc.unique(part["video_id"])) for part in wave)
            self._display.say(
                f"{num_videos} videos to do, {work.num_segments} segments, about {work.num_samples} samples of "
                f"{total_s / 3600:.2f} h: {sizes.decode_workers} decode workers, {sizes.num_actors} model actors"
            )
            with self._display.follow(
                self._tally.progress, work=work, num_videos=num_videos, num_actors=sizes.num_actors
            ):
                dataflow.run_extract(
                    group_tables(wave, task_s=sizes.task_s),
                    dataset=self._dataset,
                    info=self._info,
                    limits=self._options.limits,
                    sizes=sizes,
                    is_compiled=self._options.compile,
                    token=self._token,
                    tally=self._tally,
                )


class Chosen:
    """The videos that a run is to process, and where they are read where that is not their ``uri``."""

    def __init__(self) -> None:
        self.ids = Ids()
        self.num_videos = 0  # counted beside: asking ``ids`` for its length sorts it anew
        self.locators: dict[str, str] = {}

    def add(self, video: ListedVideo) -> None:
        """Put in one video."""
        self.num_videos += video.video_id not in self.ids
        self.ids.add(video.video_id)
        if video.locator != video.uri:
            self.locators[video.video_id] = video.locator


def _waves(parts: Iterable[pa.Table]) -> Iterator[list[pa.Table]]:
    wave: list[pa.Table] = []
    for part in parts:
        wave.append(part)
        if sum(map(len, wave)) >= _SEGMENTS_AT_ONCE:
            yield wave
            wave = []
    if wave:
        yield wave


def _batched(rows: Iterator[Document], size: int) -> Iterator[list[Document]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch


def _sum(segments: pa.ChunkedArray, name: str) -> Any:
    return pc.sum(pc.struct_field(segments, name)).as_py() or 0
