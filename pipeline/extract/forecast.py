"""What an ``extract`` would do: the input probed on the cluster, the models timed there, and nothing written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.context import Planning, known_shots
from pipeline.extract.destinations import Destinations, config_of, precision_of, window_of
from pipeline.extract.listing import Chosen, Listing
from pipeline.extract.planning import by_lacking, cuts_of, grouped, plan_blocks
from pipeline.extract.request import ExtractRequest
from pipeline.extract.results import Forecast, OutputForecast
from pipeline.extract.shared_tally import SharedTally
from pipeline.extract.sizes import NO_WORK, Sizes, choose_sizes
from pipeline.extract.tasks import work_of
from pipeline.inputs.input_words import Inputs
from pipeline.lake.appended import Appended
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import Wanted
from pipeline.lake.pending_together import Progress, pending_together
from pipeline.lake.planned import Planned
from pipeline.records.ids import Ids, in_all
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import Hardware
from pipeline.records.schemas import PLAN
from pipeline.records.segments import Sizing
from pipeline.records.thumbnails import THUMBNAILS, estimated_bytes
from pipeline.records.windows import Windows
from pipeline.stages.plan import sizing_for


@dataclass(frozen=True, slots=True, kw_only=True)
class _Output:
    """What would be filled: by a model that was timed, or with thumbnails."""

    name: str
    row_bytes: int
    sample_s: float
    preprocessing: Preprocessing | None
    """``None``: of thumbnails."""
    windows: Windows | None
    planned: Planned | None
    """``None``: no dataset was named."""
    table: Appended | None


class Forecasting:
    """Adds up what there is to do for each output, part by part: memory does not grow with the input."""

    def __init__(self, num_outputs: int) -> None:
        self.decoding = NO_WORK
        """What is decoded, once for all that lack it."""
        self.work = [NO_WORK] * num_outputs
        self.num_unusable = [0] * num_outputs
        self.num_planned = [0] * num_outputs

    def add_plan(self, part: pa.Table, *, output: int) -> None:
        """Count in videos as they are planned: rows with ``segments`` and ``reason``."""
        self.num_unusable[output] += len(part) - part["reason"].null_count
        self.num_planned[output] += pc.sum(pc.list_value_length(part["segments"])).as_py() or 0

    def add_work(self, segments: pa.ChunkedArray, *, outputs: Sequence[int]) -> None:
        """Count in segments that are decoded for these outputs."""
        work = work_of(segments)
        self.decoding = self.decoding + work
        for output in outputs:
            self.work[output] = self.work[output] + work

    def add_new(self, part: pa.Table, *, outputs: Sequence[int]) -> None:
        """Count in videos that are new to these outputs."""
        for output in outputs:
            self.add_plan(part, output=output)
        self.add_work(pc.list_flatten(part["segments"]), outputs=outputs)

    def forecast(self, outputs: Sequence[_Output], *, num_videos: int) -> Forecast:
        """What it comes to."""
        each = {output.name: self._of(at, output) for at, output in enumerate(outputs)}
        return Forecast(
            num_videos=num_videos,
            num_unusable=max(self.num_unusable),
            num_done=min(output.num_done for output in each.values()),
            num_segments=self.decoding.num_segments,
            hours=self.decoding.video_s / 3600,
            num_samples=self.decoding.num_samples,
            decode_s=self.decoding.cost_s,
            model_s=sum(output.model_s for output in each.values()),
            num_bytes=sum(output.num_bytes for output in each.values()),
            outputs=each,
        )

    def _of(self, at: int, output: _Output) -> OutputForecast:
        work = self.work[at]
        return OutputForecast(
            num_done=self.num_planned[at] - work.num_segments,
            num_segments=work.num_segments,
            num_samples=work.num_samples,
            model_s=work.num_samples * output.sample_s,
            num_bytes=work.num_samples * output.row_bytes,
        )


def forecast_run(
    inputs: Inputs, request: ExtractRequest, *, destinations: Destinations | None, hardware: Hardware
) -> Forecast:
    """Go through the input: what a dataset has planned already is taken from there, and what is new is probed.

    ``destinations``: ``None`` where the request names no ``out``.
    """
    sizes = choose_sizes(hardware, NO_WORK, request.run)
    shots = known_shots(request.rule, request.run, out=request.out)
    outputs = [*_of_models(request, destinations, hardware=hardware, sizes=sizes), *_thumbnails(request, destinations)]
    planning = Planning(
        rule=request.rule,
        sizing=_sizing(outputs, request),
        windows=None,
        shots=shots,
        options=request.run,
        sizes=sizes,
        tally=SharedTally(),
    )
    windows = [output.windows for output in outputs]
    adding = Forecasting(len(outputs))
    planned = [output.planned for output in outputs if output.planned is not None]
    listing = Listing(inputs, request.run, planned=in_all([each.ids for each in planned]) if planned else Ids())
    for videos in listing.new_videos():
        if shots is not None:
            shots.require(videos.filter(pc.is_null(videos["reason"])))
        for lacking, some in by_lacking(videos, planned) if planned else [(range(len(outputs)), videos)]:
            for each, together in grouped(lacking, windows):
                having = [plan for at, plan in enumerate(planned) if at not in lacking and windows[at] == each]
                cuts, left = cuts_of(some, having, sizing=_sizing([outputs[at] for at in together], request))
                how = replace(planning, windows=each)
                for rows in (*cuts, *_probed(left, how, hardware=hardware, schema=listing.plan_schema)):
                    adding.add_new(rows, outputs=together)
    _add_known(adding, outputs, listing.chosen)
    return adding.forecast(outputs, num_videos=listing.chosen.num_videos)


def _of_models(
    request: ExtractRequest, destinations: Destinations | None, *, hardware: Hardware, sizes: Sizes
) -> Iterator[_Output]:
    for at, choice in enumerate(request.models):
        destination = None if destinations is None else destinations.models[at]
        known = None if destination is None else destination.known
        precision = precision_of(request, known=known, hardware=hardware)
        timed = dataflow.time_on_cluster(
            choice,
            window=window_of(request, known=known),
            precision=precision,
            sizes=sizes,
            is_compiled=request.run.compile,
        )
        config = config_of(request, timed.info, known=known, hardware=hardware)
        if destination is not None:
            destination.dataset.check(config)
        yield _Output(
            name=choice.name,
            row_bytes=config.model.dim * (2 if config.dtype == "float16" else 4),
            sample_s=timed.sample_s,
            preprocessing=config.model.preprocessing.beside_the_decoder,
            windows=config.windows,
            planned=None if destination is None else Planned(destination.dataset),
            table=None if destination is None else destination.dataset.features,
        )


def _thumbnails(request: ExtractRequest, destinations: Destinations | None) -> Iterator[_Output]:
    if request.thumbnail_px is not None:
        place = None if destinations is None else destinations.thumbnails
        yield _Output(
            name=THUMBNAILS,
            row_bytes=estimated_bytes(request.thumbnail_px),
            sample_s=0.0,
            preprocessing=None,
            windows=None,
            planned=None if place is None else Planned(place.dataset),
            table=None if place is None else place.dataset.appended(THUMBNAILS),
        )


def _sizing(outputs: Sequence[_Output], request: ExtractRequest) -> Sizing:
    prepared = dict.fromkeys(output.preprocessing for output in outputs)
    return sizing_for(
        [each for each in prepared if each is not None],
        duration_s=request.run.segment_seconds,
        thumbnail_px=request.thumbnail_px if None in prepared else None,
    )


def _probed(videos: pa.Table, planning: Planning, *, hardware: Hardware, schema: pa.Schema) -> Iterator[pa.Table]:
    """Videos as they would be planned; those that are known to be absent come as they are."""
    is_absent = pc.is_valid(videos["reason"])
    absent = videos.filter(is_absent)
    if len(absent):
        yield absent.append_column(PLAN.field("segments"), pa.nulls(len(absent), PLAN.field("segments").type))
    blocks = plan_blocks(videos.filter(pc.invert(is_absent)).drop_columns(["reason", "detail"]), hardware)
    if blocks:
        yield from dataflow.probe(blocks, planning=planning, schema=schema)


def _add_known(adding: Forecasting, outputs: Sequence[_Output], chosen: Chosen) -> None:
    progress = []
    for at, output in enumerate(outputs):
        if output.planned is None or output.table is None:
            return
        for _, part in output.planned.parts(["video_id", "segments", "reason"]):
            adding.add_plan(part.filter(pa.array(chosen.ids.mask(part["video_id"]))), output=at)
        progress.append(Progress(planned=output.planned, ledger=Ledger.of(output.table.settled_parts())))
    for pending in pending_together(progress, Wanted(chosen=chosen.ids, locators={}, is_retry=False)):
        adding.add_work(pending.tasks["segment"], outputs=pending.lacking)
