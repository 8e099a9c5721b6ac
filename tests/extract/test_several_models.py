"""One decoding pass for several models: each dataset is the one that a run for its model alone makes."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import ClipFactory
from lakes import table
from rows import TINY, config

from pipeline.extract import dataflow
from pipeline.extract.context import RunContext, Target
from pipeline.extract.listing import Listing
from pipeline.extract.planning import Planner
from pipeline.extract.request import RunOptions
from pipeline.extract.shared_tally import SharedTally
from pipeline.extract.tally import LocalTally, StageReports
from pipeline.extract.tasks import group_tables
from pipeline.inputs.input_words import Inputs
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import pending_tasks
from pipeline.lake.planned import Planned
from pipeline.models.registry import load_model
from pipeline.records.ids import Ids
from pipeline.records.resources import Hardware
from pipeline.records.shards import WHOLE

HARDWARE = Hardware(num_cpus=2, num_gpus=0, num_nodes=1)
OPTIONS = RunOptions(segment_seconds=1, rows_per_file=25)
# Two of them want the same of a decoder, and normalise it each in its own way.
MODELS = {"small": ("video_cnn", "random:0"), "other": ("video_cnn", "random:1"), "large": ("resnet18", "random:0")}


@pytest.fixture
def archive(tmp_path: Path, clips: ClipFactory) -> Path:
    """Three videos of 2 s."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for index in range(3):
        os.link(clips(num_frames=50, gop=25, seed=index), folder / f"{index}.mp4")
    return folder


def dataset_info(model: str) -> DatasetInfo:
    name, weights = MODELS[model]
    info = load_model(name, weights=weights).info
    return DatasetInfo(
        config=DatasetConfig(model=info, sample="fps:5", precision="fp32", dtype="float32"), weights=weights
    )


@dataclass(frozen=True, slots=True)
class Extracted:
    context: RunContext
    stages: StageReports
    rows: dict[str, pa.Table]


def extract(archive: Path, folder: Path, *models: str) -> Extracted:
    """The real stages, a segment a call: what a batch holds else depends on which segment is ready first."""
    with ExitStack() as leases:
        targets = []
        for model in models:
            dataset, info = Dataset.at(str(folder / model)), dataset_info(model)
            token = leases.enter_context(leased(dataset, slot=WHOLE))
            dataset.create(info)
            targets.append(Target(dataset=dataset, info=info, token=token))
        context = RunContext.of(*targets, options=OPTIONS, hardware=HARDWARE, tally=SharedTally())
        context = replace(context, sizes=replace(context.sizes, samples_per_call=1, segments_per_file=2))
        listing = Listing(Inputs([str(archive)]), OPTIONS, planned=Ids())
        planner = Planner(context, [Planned(target.dataset) for target in targets])
        for videos in listing.new_videos():
            planner.add(videos, listing.plan_schema)
        tasks = list(pending_tasks(Planned(targets[-1].dataset), Ledger.of([]), chosen=listing.chosen.ids))
        actors = dataflow.start_models(context)
        dataflow.run_extract(group_tables(tasks, task_s=1.0), context=context, models=actors)
    keys = [("video_id", "ascending"), ("pts", "ascending")]
    rows = {model: table(folder / model, "features").sort_by(keys) for model in models}
    return Extracted(context, context.tally.reports(within_s=60), rows)


@pytest.mark.slow
@pytest.mark.usefixtures("in_shared_ray")
def test_several_models_share_a_decoding_pass_and_make_the_datasets_of_separate_runs(
    archive: Path, tmp_path: Path
) -> None:
    together = extract(archive, tmp_path / "together", *MODELS)

    for model in MODELS:
        alone = extract(archive, tmp_path / "alone", model)
        assert len(together.rows[model]) == 3 * 10
        assert together.rows[model].equals(alone.rows[model])
        counts = [run.stages["decode"].counts for run in (together, alone)]
        assert counts[0].num_segments == counts[1].num_segments == 3 * 2
        assert counts[0].decoded_frames == counts[1].decoded_frames >= 3 * 10, "no frame is decoded twice"
        settled = [Dataset.at(str(tmp_path / run / model)).settled() for run in ("together", "alone")]
        by_segment = [("video_id", "ascending"), ("segment", "ascending")]
        assert settled[0].sort_by(by_segment).equals(settled[1].sort_by(by_segment))
    assert len(together.context.preprocessings) == 2, "two models of one preprocessing share its input"
    assert together.stages["embed"].counts.num_samples == together.stages["decode"].counts.num_samples == 3 * 10


def target(folder: Path, *, sample: str = "fps:1", mean: float = 0.5) -> Target:
    base = config(sample=sample)
    model = replace(base.model, preprocessing=replace(TINY, mean=(mean, mean, mean)))
    info = DatasetInfo(config=replace(base, model=model), weights="random:0")
    return Target(dataset=Dataset.at(str(folder)), info=info, token="")


def test_models_that_differ_in_what_their_device_does_alone_share_an_input(tmp_path: Path) -> None:
    targets = [target(tmp_path), target(tmp_path, mean=0.4)]
    context = RunContext.of(*targets, options=OPTIONS, hardware=HARDWARE, tally=LocalTally())
    assert [context.place_of(each) for each in targets] == [0, 0]


def test_models_of_one_pass_have_one_sampling_rule(tmp_path: Path) -> None:
    targets = [target(tmp_path), target(tmp_path, sample="fps:2")]
    with pytest.raises(ValueError, match="one sampling rule"):
        RunContext.of(*targets, options=OPTIONS, hardware=HARDWARE, tally=LocalTally())
