"""The job ``shots``: every frame is decoded and judged, and from the judgements follow the shots.

What the network says of each frame is a dataset by itself, at ``_vidlake/shots`` within the lake: there it is settled
segment by segment, as features are. The table ``shots`` is derived from it, video by video, once a video is whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.extract.opening import opening
from pipeline.extract.progress import Display
from pipeline.extract.request import RunOptions
from pipeline.extract.results import Clockwork, Filled, Outcome
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo, leased
from pipeline.lake.derived import Derived
from pipeline.lake.planned import Planned
from pipeline.lake.shots import predictions_at
from pipeline.lake.video_features import LakeFeatures
from pipeline.lake.video_groups import VideoFeatures
from pipeline.records.documents import Document, number, part, text, text_or_none
from pipeline.records.extras import require_extra
from pipeline.records.ids import id_bytes
from pipeline.records.model_info import Precision
from pipeline.records.shards import Shard
from pipeline.records.shots import WINDOWS, shots_table
from pipeline.records.tables import QUARANTINE
from pipeline.stages.shots import PredictedFrames, shots_of

_WINDOWS_AT_ONCE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotsRequest:
    """One ``vidlake shots``, as it was parsed."""

    inputs: tuple[str, ...]
    out: str
    precision: Precision | None
    run: RunOptions


def run_shots(request: ShotsRequest, display: Display) -> Outcome:
    """Find the shots of what of the input is not settled yet.

    Raises:
        UsageError: the request or what is at its ``out`` does not fit; nothing was touched.
        RunError: the run failed and can be resumed.
    """
    require_extra("shots", command="shots")
    clockwork = Clockwork("shots")
    lake, predictions = Dataset.at(request.out), predictions_at(request.out)
    lake.backend.check(slot=request.run.shard)
    inputs = Inputs(request.inputs, exclude=request.out, reserved=RESERVED_COLUMNS)
    known = predictions.info()
    batch_size = request.run.batch_size or WINDOWS.length * _WINDOWS_AT_ONCE
    with opening([predictions], replace(request.run, batch_size=batch_size), display, clockwork) as opened:
        from pipeline.models.registry import load_shots_model

        model = load_shots_model().info
        opened.clockwork.mark("model")
        usual = known.config.precision if known else opened.hardware.usual_precision
        config = DatasetConfig(
            model=model,
            sample="all",
            precision=request.precision or usual,
            dtype="float32",
            stride=WINDOWS.stride,
            lead=WINDOWS.lead,
        )
        predictions.check(config)
        info = DatasetInfo(config=config, weights="default")
        with opened.run(info) as run:
            run.extract(inputs)
            outcome = run.finish()
        with leased(lake, slot=request.run.shard) as token:
            publish_shots(predictions, lake, info, shard=request.run.shard, token=token)
    filled = [Filled(model=each.model, out=lake.store.uri, totals=each.totals) for each in outcome.datasets]
    return replace(outcome, datasets=tuple(filled))


def publish_shots(predictions: Dataset, lake: Dataset, info: DatasetInfo, *, shard: Shard, token: str) -> None:
    """Bring the table ``shots`` of a lake up to date: each file follows from one of the plan.

    Where the lake holds no features, its ``quarantine`` says which videos lack some of their shots.
    """
    table, is_alone = shots_table(_made_by(info)), shard.count == 1
    while True:
        shots = Derived(lake.files, table, is_alone=is_alone, token=token)
        features = LakeFeatures.at(predictions.store.uri)
        for name, videos in Planned(predictions).parts(["video_id", "uri", "facts", "range_end"]):
            rows = list(_rows(videos, features))
            shots.put(name, pa.Table.from_pylist(rows, schema=table.schema.remove_metadata()))
        shots.close()
        if shots.is_current and (lake.info() is not None or _copy_quarantine(predictions, lake, is_alone, token)):
            return


def _made_by(info: DatasetInfo) -> Document:
    config = info.config
    return {
        "model": config.model.name,
        "weights_digest": config.model.weights_digest,
        "precision": config.precision,
        "fingerprint": config.fingerprint,
    }


def _rows(videos: pa.Table, features: LakeFeatures) -> Iterator[Document]:
    """The shots of those videos of a part of the plan that are whole."""
    facts = {row["video_id"]: row for row in videos.to_pylist()}
    ids = id_bytes(videos["video_id"])
    ids = ids[features.num_samples(ids) > 0]
    for video in features.read(ids[features.are_settled(ids)]):
        row = facts[video.video_id]
        for shot in shots_of(_predicted(video, row)):
            yield shot.to_row(video_id=video.video_id, uri=text(row, "uri"))


def _predicted(video: VideoFeatures, row: Document) -> PredictedFrames:
    samples, facts = video.samples, part(row, "facts")
    last_s = float(samples.times_s[-1])
    duration_s = number(facts, "duration_s")
    # Of a range that a manifest asks for, the frame that follows is not known.
    is_whole = text_or_none(row, "range_end") is None and duration_s > last_s
    return PredictedFrames(
        epochs=samples.epochs,
        pts=samples.pts,
        times_s=samples.times_s,
        ends=video.features[:, 0],
        blends=video.features[:, 1],
        time_base=Fraction(text(facts, "time_base")),
        end_s=duration_s if is_whole else last_s + float(1 / Fraction(text(facts, "frame_rate_hz"))),
    )


def _copy_quarantine(predictions: Dataset, lake: Dataset, is_alone: bool, token: str) -> bool:
    """Show in the lake what failed; whether no other run did so at the same time."""
    quarantine = Derived(lake.files, QUARANTINE, is_alone=is_alone, token=token)
    for name in predictions.files.tables(QUARANTINE.name):
        rows = predictions.files.read_ours(name, lambda file: pq.ParquetFile(file).read())
        quarantine.put(name.rpartition("/")[2].removesuffix(".parquet"), rows.replace_schema_metadata(None))
    quarantine.close()
    return quarantine.is_current
