"""The first stage: source -> plan. Free of Ray, and of torch, whose import would hold up the start of every run."""

from collections.abc import Iterable, Mapping

import pyarrow as pa

from pipeline.errors import InputError, Killed, UsageError
from pipeline.inputs.sources import identity_of
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.footage import ShotSpan
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.shots import ShotsRule
from pipeline.records.model_info import Preprocessing
from pipeline.records.segments import MAX_SAMPLES, Quarantined, Sizing, VideoPlan
from pipeline.records.thumbnails import estimated_bytes
from pipeline.records.videos import ListedVideo, PlannedVideo
from pipeline.records.windows import Windows
from pipeline.storage.reader import Reader
from pipeline.storage.schemes import open_reader

MAX_SEGMENT_BYTES = 80_000_000
"""Of model input that one segment may hold: a row between operators is a whole segment."""

_MOST_FRAMES = 4096
"""Of a segment that every frame of is seen, as small as a thumb: what it reads past its end is then a small part."""


def sizing_for(
    preprocessings: Iterable[Preprocessing], *, duration_s: float | None = None, thumbnail_px: int | None = None
) -> Sizing:
    """How to cut a video whose samples are prepared in all these ways, and have thumbnails of this longest side."""
    preprocessings = list(preprocessings)
    sample_bytes = sum(each.sample_bytes for each in preprocessings)
    sample_bytes += 0 if thumbnail_px is None else estimated_bytes(thumbnail_px)
    is_for_shots = bool(preprocessings) and all(each.scaler == "ffmpeg" for each in preprocessings)
    most = _MOST_FRAMES if is_for_shots else MAX_SAMPLES
    max_samples = max(1, min(most, MAX_SEGMENT_BYTES // sample_bytes))
    return Sizing(max_samples=max_samples, duration_s=duration_s)


def plan_sources(
    sources: pa.Table,
    *,
    sandbox: Sandbox,
    rule: SamplingRule,
    sizing: Sizing,
    windows: Windows | None = None,
    shots: Mapping[str, tuple[ShotSpan, ...]] | None = None,
) -> list[PlannedVideo]:
    """Probe each video of a ``SOURCES`` table and cut it into segments.

    ``shots``: of the videos, by their ids, where the rule goes by them.

    Raises:
        StorageError: a store failed.
    """
    planned = []
    for video in map(ListedVideo.from_row, sources.to_pylist()):
        result: VideoPlan | Quarantined
        try:
            with open_reader(video.locator, expected=identity_of(video)) as reader:
                job = job_of(video, rule, windows=windows, shots=(shots or {}).get(video.video_id, ()))
                result = _plan(sandbox, reader, job, sizing=sizing)
                reader.check_unchanged()
        except InputError as error:
            result = Quarantined.of(error)
        if isinstance(rule, ShotsRule) and isinstance(result, VideoPlan) and video.video_id not in (shots or {}):
            raise UsageError(f"the shots of {video.uri} are not known: find them by `vidlake shots`")
        planned.append(PlannedVideo(video=video, result=result))
    return planned


def _plan(sandbox: Sandbox, reader: Reader, job: Job, *, sizing: Sizing) -> VideoPlan:
    try:
        return sandbox.plan(reader, job, sizing=sizing)
    except Killed:
        return sandbox.plan(reader, job, sizing=sizing)


def job_of(
    video: ListedVideo,
    rule: SamplingRule,
    *,
    windows: Windows | None = None,
    shots: tuple[ShotSpan, ...] = (),
) -> Job:
    """What a decoder is to do with a video."""
    return Job(uri=video.uri, rule=rule, time_range=video.time_range, windows=windows, shots=shots)
