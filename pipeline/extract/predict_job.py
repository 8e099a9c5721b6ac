"""What ``predict`` does, from the first check to the last figure.

All that does not fit is said before Ray is started, and where nothing is left to do it is not started at all.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.cluster.memory import give_back_what_is_freed
from pipeline.errors import StorageError
from pipeline.extract.predict_operators import HeadBytes, Predicting, Work
from pipeline.extract.progress import Display
from pipeline.extract.request import PredictRequest
from pipeline.extract.results import Clockwork, Predicted, PredictedPart
from pipeline.extract.short_reports import reported
from pipeline.lake.dataset import Dataset, leased
from pipeline.lake.declarations import declare
from pipeline.lake.ledger import Ledger
from pipeline.lake.pending_frames import PendingFrames
from pipeline.lake.predicted_videos import PendingVideos, VideoWork
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.side_tables import Predictor, check_predictions, predictions_table
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.files import HEAD_JSON, WEIGHTS
from pipeline.models.heads.registry import HeadAddress, Heads
from pipeline.records.shards import WHOLE
from pipeline.records.tables import Table

_FRAMES_PER_FILE = 65_536
_PROBABILITY_BYTES = 64 << 20
"""Of a file's probabilities in memory, at most."""
_PARTS_AT_ONCE = 256
_ROUNDS = 3


def run_predict(request: PredictRequest, display: Display) -> Predicted:
    """Predict for what of a lake has no predictions of the head's yet.

    Raises:
        UsageError: the request, the head, the lake or the place for the predictions does not fit; nothing was touched.
        RunError: the run failed and can be resumed.
    """
    clockwork = Clockwork("predict")
    give_back_what_is_freed()
    lake = LakeFeatures.at(request.lake)
    predictor, head = _head(request.head, lake, display)
    is_by_file = predictor.info.is_each_sample_alone and len(lake.datasets) == 1
    target = Dataset.at(request.out)
    table = predictions_table(predictor, growth="appended" if is_by_file else "derived")
    check_predictions(target.files, table)
    target.backend.check(slot=WHOLE)
    clockwork.mark("checked")
    with leased(target, slot=WHOLE) as token, reported(target, clockwork):
        declare(target.files, table, token=token)
        job = _Job(
            request=request,
            lake=lake,
            target=target,
            table=table,
            head=head,
            token=token,
            display=display,
            clockwork=clockwork,
        )
        done = _by_file(job) if is_by_file else _by_video(job)
        clockwork.mark("end")
    parts = done.parts
    counts = np.array([part.label_counts for part in parts], np.int64).reshape(-1, len(predictor.info.labels))
    return Predicted(
        out=target.store.uri,
        head=str(predictor),
        digest=predictor.digest,
        num_videos=done.num_videos,
        num_units=sum(part.num_units for part in parts),
        labels=dict(zip(predictor.info.labels, counts.sum(axis=0).tolist(), strict=True)),
        num_files=sum(part.num_bytes > 0 for part in parts),
        num_bytes=sum(part.num_bytes for part in parts),
        num_waiting=done.num_waiting,
        num_undated=done.num_undated,
        seconds=clockwork.marks["end"],
        marks_s=clockwork.marks,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    request: PredictRequest
    lake: LakeFeatures
    target: Dataset
    table: Table
    head: HeadBytes
    token: str
    display: Display
    clockwork: Clockwork


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    parts: Sequence[PredictedPart]
    num_videos: int
    num_waiting: int = 0
    num_undated: int


def _head(words: str, lake: LakeFeatures, display: Display) -> tuple[Predictor, HeadBytes]:
    """The head that was asked for, which must be one for the features of the lake."""
    address = HeadAddress.parse(words)
    store = backend_at(address.heads).store
    loaded = Heads(store).load(address.name, address.version)
    info = loaded.head.info
    lake.require_fit(info, head=str(loaded))
    sample = lake.sample
    if sample != info.sample:
        display.say(f"head {loaded} was trained on videos sampled {info.sample}; {lake.uri} was sampled {sample}")
    folder = f"{address.name}/{loaded.version}"
    content = tuple((name, store.read(f"{folder}/{name}")) for name in (HEAD_JSON, WEIGHTS))
    predictor = Predictor(name=loaded.name, version=loaded.version, digest=loaded.head.digest, info=info, sample=sample)
    return predictor, HeadBytes(uri=f"{store.uri}/{folder}", content=content)


def _by_file(job: _Job) -> _Done:
    predicted = Ledger.of(job.target.appended(job.table.name).settled_parts())
    [dataset], [videos] = job.lake.datasets, job.lake.videos
    pending = PendingFrames(dataset, videos, predicted, period=job.request.period)
    num_labels = job.table.schema.field("probabilities").type.list_size
    piece_rows = max(1, min(_FRAMES_PER_FILE, _PROBABILITY_BYTES // (4 * num_labels)))
    parts = _run(job, pending.pieces(piece_rows=piece_rows), total=pending.num_frames, num_videos=pending.num_videos)
    return _Done(parts=parts, num_videos=pending.num_videos, num_undated=pending.num_undated)


def _by_video(job: _Job) -> _Done:
    parts: list[PredictedPart] = []
    num_videos = 0
    for _ in range(_ROUNDS):
        pending = PendingVideos(job.lake, job.target.files, period=job.request.period)
        num_videos = num_videos or pending.num_videos
        waves = _waves(pending.work())
        done = _run(job, waves, total=pending.num_samples, num_videos=pending.num_videos)
        parts += [part for part in done if not part.is_refused]
        if not any(part.is_refused for part in done):
            return _Done(
                parts=parts,
                num_videos=num_videos,
                num_waiting=pending.num_waiting,
                num_undated=pending.num_undated,
            )
    raise StorageError(f"{job.target.files.uri(job.table.name)}: another run replaces its files; run the command again")


def _waves(work: Iterable[VideoWork]) -> Iterable[list[VideoWork]]:
    works = iter(work)
    while wave := list(itertools.islice(works, _PARTS_AT_ONCE)):
        yield wave


def _run(job: _Job, waves: Iterable[Work], *, total: int, num_videos: int) -> list[PredictedPart]:
    """Have the cluster do the work, a wave after the other, so that a driver's memory does not grow with the lake."""
    job.clockwork.mark("plan")
    if not total:
        return []
    from pipeline.cluster.start import starting
    from pipeline.extract import dataflow

    predicting = Predicting(
        head=job.head,
        features=tuple(dataset.files for dataset in job.lake.datasets),
        target=job.target.files,
        table=job.table,
        token=job.token,
    )
    parts: list[PredictedPart] = []
    with starting(job.request.address) as cluster:
        hardware = cluster.hardware(say=job.display.say)
        job.clockwork.mark("ray")
        job.display.say(f"{num_videos} videos to do, {total} samples")
        with job.display.count("samples", total=total) as count:
            for wave in waves:
                for part in dataflow.run_predict(wave, predicting=predicting, num_workers=hardware.num_cpus):
                    parts.append(part)
                    count(part.num_samples)
    return parts
