"""What an ``extract`` would do: the input probed on the cluster, the model timed there, and nothing written."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract import dataflow
from pipeline.extract.context import Planning
from pipeline.extract.listing import Chosen, Listing
from pipeline.extract.request import ExtractRequest
from pipeline.extract.results import Forecast
from pipeline.extract.run import plan_blocks, work_of
from pipeline.extract.shared_tally import SharedTally
from pipeline.extract.sizes import NO_WORK, Sizes
from pipeline.inputs.input_words import Inputs
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset
from pipeline.lake.ids import Ids
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import pending_tasks
from pipeline.lake.planned import Planned
from pipeline.records.resources import Hardware


class Forecasting:
    """Adds up what there is to do, part by part: memory does not grow with the input."""

    def __init__(self) -> None:
        self.num_unusable = 0
        self.num_planned = 0
        self.work = NO_WORK

    def add_plan(self, part: pa.Table) -> None:
        """Count in videos as they are planned: rows with ``segments`` and ``reason``."""
        self.num_unusable += len(part) - part["reason"].null_count
        self.num_planned += pc.sum(pc.list_value_length(part["segments"])).as_py() or 0

    def add_work(self, segments: pa.ChunkedArray) -> None:
        """Count in segments that are left to do."""
        self.work = self.work + work_of(segments)

    def forecast(self, config: DatasetConfig, *, num_videos: int, sample_s: float) -> Forecast:
        """What it comes to, for a model that takes ``sample_s`` seconds a sample."""
        value_bytes = 2 if config.dtype == "float16" else 4
        return Forecast(
            num_videos=num_videos,
            num_unusable=self.num_unusable,
            num_done=self.num_planned - self.work.num_segments,
            num_segments=self.work.num_segments,
            hours=self.work.video_s / 3600,
            num_samples=self.work.num_samples,
            decode_s=self.work.cost_s,
            model_s=self.work.num_samples * sample_s,
            num_bytes=self.work.num_samples * config.model.dim * value_bytes,
        )


def forecast_run(
    inputs: Inputs,
    request: ExtractRequest,
    *,
    dataset: Dataset | None,
    config: DatasetConfig,
    hardware: Hardware,
    sizes: Sizes,
    sample_s: float,
) -> Forecast:
    """Go through the input: what ``dataset`` has planned already is taken from there, and what is new is probed."""
    adding = Forecasting()
    planned = None if dataset is None else Planned(dataset)
    listing = Listing(inputs, request.run, planned=Ids() if planned is None else planned.ids)
    planning = Planning(
        rule=request.rule,
        preprocessings=(config.model.preprocessing,),
        options=request.run,
        sizes=sizes,
        tally=SharedTally(),
    )
    for videos in listing.new_videos():
        absent = pc.is_valid(videos["reason"])
        adding.num_unusable += pc.sum(absent).as_py() or 0
        present = videos.filter(pc.invert(absent)).drop_columns(["reason", "detail"])
        blocks = plan_blocks(present, hardware)
        for part in dataflow.probe(blocks, planning=planning, schema=listing.plan_schema) if blocks else ():
            adding.add_plan(part)
            adding.add_work(pc.list_flatten(part["segments"]))
    if dataset is not None and planned is not None:
        _add_known(adding, dataset, planned, listing.chosen)
    return adding.forecast(config, num_videos=listing.chosen.num_videos, sample_s=sample_s)


def _add_known(adding: Forecasting, dataset: Dataset, planned: Planned, chosen: Chosen) -> None:
    for _, part in planned.parts(["video_id", "segments", "reason"]):
        adding.add_plan(part.filter(pa.array(chosen.ids.mask(part["video_id"]))))
    ledger = Ledger.of(dataset.settled_parts())
    for tasks in pending_tasks(planned, ledger, chosen=chosen.ids):
        adding.add_work(tasks["segment"])
