"""A run over several datasets goes by what each lacks: one pass for all that lack the same, and none for the others."""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ClipFactory
from lakes import assert_same, features, table

from pipeline.extract.context import RunContext, Target, ThumbnailTarget
from pipeline.extract.destinations import destinations_of
from pipeline.extract.forecast import forecast_run
from pipeline.extract.progress import Display
from pipeline.extract.report import Reporting
from pipeline.extract.request import ExtractRequest, ModelChoice, RunOptions
from pipeline.extract.results import Clockwork, Outcome
from pipeline.extract.run import Run
from pipeline.extract.shared_tally import SharedTally
from pipeline.inputs.input_words import Inputs
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.registry import load_model
from pipeline.records.resources import Hardware
from pipeline.records.shards import WHOLE

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_shared_ray")]

HARDWARE = Hardware(num_cpus=2, num_gpus=0, num_nodes=1)
NUM_FRAMES, NUM_VIDEOS, NUM_SAMPLES = 50, 2, 10
MODELS = {"small": "random:0", "other": "random:1"}


@pytest.fixture
def archive(tmp_path: Path, clips: ClipFactory) -> Path:
    """Two videos of 2 s, and a file that is none."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for index in range(NUM_VIDEOS):
        os.link(clips(num_frames=NUM_FRAMES, gop=25, bframes=0, seed=index), folder / f"{index}.mp4")
    (folder / "text.mp4").write_text("no video")
    return folder


def run(archive: Path, lake: Path, *names: str, segment_seconds: float = 1, thumbnail_px: int | None = None) -> Outcome:
    """What ``extract`` does with the datasets of some models, and with the folder above for thumbnails."""
    options, clockwork = RunOptions(segment_seconds=segment_seconds, rows_per_file=5), Clockwork()
    with ExitStack() as leases:
        targets, thumbnails = [], None
        for name in names:
            dataset, info = Dataset.at(str(lake / name)), info_of(name)
            token = leases.enter_context(leased(dataset, slot=WHOLE))
            dataset.create(info)
            targets.append(Target(dataset=dataset, info=info, token=token))
        if thumbnail_px is not None:
            above = Dataset.at(str(lake))
            token = leases.enter_context(leased(above, slot=WHOLE))
            thumbnails = ThumbnailTarget(dataset=above, token=token, longest_px=thumbnail_px, sample="fps:5")
        context = RunContext.of(
            *targets, options=options, hardware=HARDWARE, tally=SharedTally(), thumbnails=thumbnails
        )
        reporting = leases.enter_context(Reporting(context, clockwork))
        work = Run(context, display=Display(is_quiet=True), clockwork=clockwork, reporting=reporting)
        work.extract(Inputs([str(archive)]))
        return work.finish()


def info_of(name: str) -> DatasetInfo:
    model = load_model("video_cnn", weights=MODELS[name]).info
    return DatasetInfo(
        config=DatasetConfig(model=model, sample="fps:5", precision="fp32", dtype="float32"), weights=MODELS[name]
    )


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def sorted_rows(lake: Path, name: str) -> pa.Table:
    return table(lake, name).sort_by([("video_id", "ascending"), ("pts", "ascending")])


def test_a_model_added_later_decodes_what_it_lacks_and_finished_ones_cost_nothing(
    archive: Path, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    first = run(archive, lake, "small")
    assert 0 < NUM_SAMPLES * NUM_VIDEOS <= first.decoded_frames <= NUM_FRAMES * NUM_VIDEOS
    before = files(lake / "small" / "features")

    added = run(archive, lake, "small", "other", segment_seconds=0.5)
    assert added.decoded_frames == first.decoded_frames, "the cut that the first one has is taken over"
    assert [each.totals.videos["ok"] for each in added.datasets] == [NUM_VIDEOS, NUM_VIDEOS]
    assert [each.totals.reasons for each in added.datasets] == [{"not_video": 1}, {"not_video": 1}]
    assert files(lake / "small" / "features") == before

    after = {name: files(lake / name / "features") for name in MODELS}
    idle = run(archive, lake, "small", "other")
    assert (idle.decoded_frames, idle.num_samples, idle.num_bytes) == (0, 0, 0)
    assert {name: files(lake / name / "features") for name in MODELS} == after

    shutil.rmtree(lake / "other")
    run(archive, lake, "small", "other")
    assert features(lake / "other").keys() == features(lake / "small").keys()
    assert files(lake / "small" / "features") == before


def test_what_one_has_done_is_decoded_for_the_other_alone(archive: Path, tmp_path: Path) -> None:
    """As a run leaves them that was killed between the commits of two datasets."""
    lake, some = tmp_path / "lake", archive / "0.mp4"
    first = run(some, lake, "small")
    done = files(lake / "small" / "features")
    both = run(archive, lake, "small", "other")
    whole = run(archive, tmp_path / "whole", "small", "other")
    assert 0 < first.decoded_frames < both.decoded_frames == whole.decoded_frames
    assert done.items() <= files(lake / "small" / "features").items()
    for name in MODELS:
        assert_same(features(lake / name), features(tmp_path / "whole" / name))


def table_rows(path: Path) -> int:
    num_rows: int = pq.read_metadata(path).num_rows
    return num_rows


def test_datasets_with_cuts_of_their_own_keep_them_and_are_decoded_apart(archive: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    alone = [run(archive, lake, name, segment_seconds=s).decoded_frames for name, s in (("small", 1), ("other", 9))]
    for name in MODELS:
        shutil.rmtree(lake / name / "features")
    both = run(archive, lake, "small", "other")
    assert both.decoded_frames == sum(alone)
    counts = [
        len(set(zip(*(table(lake / n, "features")[c].to_pylist() for c in ("uri", "segment")), strict=True)))
        for n in MODELS
    ]
    assert counts == [2 * NUM_VIDEOS, NUM_VIDEOS]
    assert features(lake / "small").keys() == features(lake / "other").keys()


def test_thumbnails_asked_for_later_are_made_alone_and_exactly_once(archive: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first = run(archive, lake, "small")
    before = files(lake / "small")
    later = run(archive, lake, "small", thumbnail_px=32)
    assert later.decoded_frames == first.decoded_frames
    assert files(lake / "small").items() >= {k: v for k, v in before.items() if k.startswith("features")}.items()

    keys = ["video_id", "uri", "epoch", "pts", "time_s"]
    made = sorted_rows(lake, "thumbnails")
    assert made.select(keys).equals(sorted_rows(lake / "small", "features").select(keys).cast(made.select(keys).schema))
    assert set(made["width"].to_pylist()) == {32}
    after = files(lake / "thumbnails")
    lost = next(path for path in sorted((lake / "thumbnails").iterdir()) if table_rows(path))
    lost.unlink()
    assert run(archive, lake, "small", thumbnail_px=32).decoded_frames > 0
    assert sorted_rows(lake, "thumbnails").equals(made)
    assert run(archive, lake, "small", thumbnail_px=32).decoded_frames == 0
    assert set(after) - {f"{lost.name}"} <= set(files(lake / "thumbnails"))


def test_a_plan_tells_what_each_lacks_and_what_is_decoded_for_all(archive: Path, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    (lake / "video_cnn").parent.mkdir()
    run(archive / "0.mp4", lake, "small")
    (lake / "small").rename(lake / "video_cnn")
    before = files(lake)
    names = (("video_cnn", "random:0"), ("mobilenet_v3_small", "random:0"))
    request = ExtractRequest(
        inputs=(str(archive),),
        out=str(lake),
        models=tuple(ModelChoice(name=name, weights=weights) for name, weights in names),
        rule=parse_rule("fps:5"),
        precision=None,
        dtype=None,
        run=RunOptions(segment_seconds=1),
        thumbnail_px=32,
    )
    inputs, destinations = Inputs([str(archive)]), destinations_of(request)
    told = forecast_run(inputs, request, destinations=destinations, hardware=HARDWARE)
    assert (told.num_videos, told.num_unusable, told.num_done) == (NUM_VIDEOS + 1, 1, 0)
    assert (told.num_segments, told.num_samples) == (2 * NUM_VIDEOS, NUM_SAMPLES * NUM_VIDEOS)
    samples = {name: (each.num_done, each.num_segments, each.num_samples) for name, each in told.outputs.items()}
    assert samples == {
        "video_cnn": (2, 2, NUM_SAMPLES),
        "mobilenet_v3_small": (0, 4, NUM_SAMPLES * NUM_VIDEOS),
        "thumbnails": (0, 4, NUM_SAMPLES * NUM_VIDEOS),
    }
    assert told.outputs["video_cnn"].num_bytes == NUM_SAMPLES * 512 * 4
    assert told.outputs["video_cnn"].model_s > 0 == told.outputs["thumbnails"].model_s
    assert files(lake) == before
