"""What an ``extract`` would do: the input probed on the cluster, the models timed there, and nothing written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.context import Planning
from pipeline.extract.destinations import Destination, config_of, precision_of
from pipeline.extract.listing import Chosen, Listing
from pipeline.extract.planning import by_lacking, cuts_of, plan_blocks
from pipeline.extract.request import ExtractRequest
from pipeline.extract.results import Forecast, ModelForecast
from pipeline.extract.shared_tally import SharedTally
from pipeline.extract.sizes import NO_WORK, Sizes, Work, choose_sizes
from pipeline.extract.tasks import work_of
from pipeline.inputs.input_words import Inputs
from pipeline.lake.config import DatasetConfig
from pipeline.lake.ids import Ids, in_all
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import Wanted
from pipeline.lake.pending_together import Progress, pending_together
from pipeline.lake.planned import Planned
from pipeline.records.resources import Hardware
from pipeline.records.schemas import PLAN


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """A model that was timed, and what its rows would be."""

    config: DatasetConfig
    sample_s: float


class Forecasting:
    """Adds up what there is to do for each of some models, part by part: memory does not grow with the input."""

    def __init__(self, num_models: int) -> None:
        self.decoding = NO_WORK
        """What is decoded, once for all that lack it."""
        self.work = [NO_WORK] * num_models
        self.num_unusable = [0] * num_models
        self.num_planned = [0] * num_models

    def add_plan(self, part: pa.Table, *, model: int) -> None:
        """Count in videos as they are planned: rows with ``segments`` and ``reason``."""
        self.num_unusable[model] += len(part) - part["reason"].null_count
        self.num_planned[model] += pc.sum(pc.list_value_length(part["segments"])).as_py() or 0

    def add_work(self, segments: pa.ChunkedArray, *, models: Sequence[int]) -> None:
        """Count in segments that are decoded for these models."""
        work = work_of(segments)
        self.decoding = self.decoding + work
        for model in models:
            self.work[model] = self.work[model] + work

    def add_new(self, part: pa.Table, *, models: Sequence[int]) -> None:
        """Count in videos that are new to these models."""
        for model in models:
            self.add_plan(part, model=model)
        self.add_work(pc.list_flatten(part["segments"]), models=models)

    def forecast(self, models: Sequence[_Model], *, num_videos: int) -> Forecast:
        """What it comes to."""
        each = {
            model.config.model.name: _of_model(
                model, self.work[at], num_done=self.num_planned[at] - self.work[at].num_segments
            )
            for at, model in enumerate(models)
        }
        return Forecast(
            num_videos=num_videos,
            num_unusable=max(self.num_unusable),
            num_done=min(model.num_done for model in each.values()),
            num_segments=self.decoding.num_segments,
            hours=self.decoding.video_s / 3600,
            num_samples=self.decoding.num_samples,
            decode_s=self.decoding.cost_s,
            model_s=sum(model.model_s for model in each.values()),
            num_bytes=sum(model.num_bytes for model in each.values()),
            models=each,
        )


def _of_model(model: _Model, work: Work, *, num_done: int) -> ModelForecast:
    value_bytes = 2 if model.config.dtype == "float16" else 4
    return ModelForecast(
        num_done=num_done,
        num_segments=work.num_segments,
        num_samples=work.num_samples,
        model_s=work.num_samples * model.sample_s,
        num_bytes=work.num_samples * model.config.model.dim * value_bytes,
    )


def forecast_run(
    inputs: Inputs, request: ExtractRequest, *, destinations: Sequence[Destination], hardware: Hardware
) -> Forecast:
    """Go through the input: what a dataset has planned already is taken from there, and what is new is probed.

    ``destinations``: none where the request names no ``out``.
    """
    sizes = choose_sizes(hardware, NO_WORK, request.run)
    models = _timed(request, destinations, hardware=hardware, sizes=sizes)
    prepared = [model.config.model.preprocessing.beside_the_decoder for model in models]
    planning = Planning(
        rule=request.rule,
        preprocessings=tuple(dict.fromkeys(prepared)),
        options=request.run,
        sizes=sizes,
        tally=SharedTally(),
    )
    adding = Forecasting(len(models))
    planned = [Planned(each.dataset) for each in destinations]
    listing = Listing(inputs, request.run, planned=in_all([each.ids for each in planned]) if planned else Ids())
    for videos in listing.new_videos():
        for lacking, some in by_lacking(videos, planned) if planned else [(range(len(models)), videos)]:
            having = [each for at, each in enumerate(planned) if at not in lacking]
            cuts, left = cuts_of(some, having, preprocessings=[prepared[at] for at in lacking])
            for rows in (*cuts, *_probed(left, planning, hardware=hardware, schema=listing.plan_schema)):
                adding.add_new(rows, models=lacking)
    if planned:
        progress = [
            Progress(planned=plan, ledger=Ledger.of(each.dataset.settled_parts()))
            for plan, each in zip(planned, destinations, strict=True)
        ]
        _add_known(adding, progress, listing.chosen)
    return adding.forecast(models, num_videos=listing.chosen.num_videos)


def _probed(videos: pa.Table, planning: Planning, *, hardware: Hardware, schema: pa.Schema) -> Iterator[pa.Table]:
    """Videos as they would be planned; those that are known to be absent come as they are."""
    is_absent = pc.is_valid(videos["reason"])
    absent = videos.filter(is_absent)
    if len(absent):
        yield absent.append_column(PLAN.field("segments"), pa.nulls(len(absent), PLAN.field("segments").type))
    blocks = plan_blocks(videos.filter(pc.invert(is_absent)).drop_columns(["reason", "detail"]), hardware)
    if blocks:
        yield from dataflow.probe(blocks, planning=planning, schema=schema)


def _timed(
    request: ExtractRequest, destinations: Sequence[Destination], *, hardware: Hardware, sizes: Sizes
) -> list[_Model]:
    found = []
    for at, choice in enumerate(request.models):
        known = destinations[at].known if destinations else None
        precision = precision_of(request, known=known, hardware=hardware)
        timed = dataflow.time_on_cluster(choice, precision=precision, sizes=sizes, is_compiled=request.run.compile)
        config = config_of(request, timed.info, known=known, hardware=hardware)
        if destinations:
            destinations[at].dataset.check(config)
        found.append(_Model(config=config, sample_s=timed.sample_s))
    return found


def _add_known(adding: Forecasting, progress: Sequence[Progress], chosen: Chosen) -> None:
    for at, each in enumerate(progress):
        for _, part in each.planned.parts(["video_id", "segments", "reason"]):
            adding.add_plan(part.filter(pa.array(chosen.ids.mask(part["video_id"]))), model=at)
    for pending in pending_together(progress, Wanted(chosen=chosen.ids, locators={}, is_retry=False)):
        adding.add_work(pending.tasks["segment"], models=pending.lacking)
