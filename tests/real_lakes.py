"""Lakes of real videos, made in this process by the code of the batch job, without Ray: seconds instead of a minute."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.extract.context import ThumbnailTarget
from pipeline.extract.sinks import ThumbnailSink
from pipeline.inputs.input_words import Inputs
from pipeline.inputs.sources import RESERVED_COLUMNS, listed_video
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending import pending_tasks, unsettled_failures
from pipeline.lake.planned import Planned, publish_listed, publish_plan
from pipeline.lake.tables import derive
from pipeline.media.process.sandbox import Sandbox
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.embedder import Embedder
from pipeline.models.registry import load_model
from pipeline.records.ids import Ids
from pipeline.records.resources import DecodeLimits
from pipeline.records.rows import embedded_rows, output_rows, table_of
from pipeline.records.schemas import PLAN, SOURCES
from pipeline.records.shards import WHOLE
from pipeline.stages.decode import decode_tasks, samples_for_model
from pipeline.stages.plan import plan_sources, sizing_for

MODEL, WEIGHTS = "video_cnn", "random:0"
"""As ``serving.VIDEO_CNN`` has them: a server with that model can search these lakes."""


def real_lake(
    folder: Path, inputs: Sequence[Path], *, sample: str = "fps:2", thumbnail_px: int | None = None
) -> tuple[Dataset, str]:
    """A lake of some files, and the token of its lease."""
    model = load_model(MODEL, weights=WEIGHTS)
    config = DatasetConfig(model=model.info, sample=sample, precision="fp32", dtype="float32")
    info = DatasetInfo(config=config, weights=WEIGHTS)
    dataset = Dataset.at(str(folder))
    dataset.store.ensure_writable()
    token = dataset.backend.acquire(slot=WHOLE).token
    dataset.create(info)
    rule, preprocessings = parse_rule(sample), (model.info.preprocessing.beside_the_decoder,)
    with Sandbox(DecodeLimits()) as sandbox:
        sources = Inputs([str(path) for path in inputs], exclude=str(folder), reserved=RESERVED_COLUMNS)
        listed = [listed_video(source, attempts=1) for source in sources]
        planned = plan_sources(
            table_of([video.to_row() for video in listed], SOURCES),
            sandbox=sandbox,
            rule=rule,
            sizing=sizing_for(preprocessings, thumbnail_px=thumbnail_px),
        )
        publish_plan(dataset, table_of([video.to_row() for video in planned], PLAN), token=token)
        ids = Ids()
        for video in listed:
            ids.add(video.video_id)
        publish_listed(dataset, ids, shard=WHOLE, token=token)
        known = Planned(dataset), Ledger.of(dataset.settled_parts())
        for entries in unsettled_failures(*known):
            dataset.settle(entries, info, token=token)
        embedder = Embedder(model, precision="fp32", batch_size=8, num_threads=1)
        for tasks in pending_tasks(*known):
            decoded = decode_tasks(
                tasks, sandbox=sandbox, rule=rule, preprocessings=preprocessings, thumbnail_px=thumbnail_px
            )
            samples = pa.concat_tables(decoded)
            outputs = output_rows(samples, [embedder.embed(samples_for_model(samples, model.info, place=0))])
            dataset.publish_features(embedded_rows(outputs, place=0), info, token=token)
            if thumbnail_px is not None:
                target = ThumbnailTarget(dataset=dataset, token=token, longest_px=thumbnail_px, sample=sample)
                ThumbnailSink(target).commit(outputs)
    derive(dataset, shard=WHOLE, token=token)
    return dataset, token
