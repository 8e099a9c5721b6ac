"""The stage behind the plan, free of Ray: segments of a video to samples that are ready for the models."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from itertools import groupby
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import Changed, Crashed, InputError, Killed, Unreadable
from pipeline.inputs.sources import identity_of
from pipeline.media.process.messages import Dropped, Ended
from pipeline.media.process.sandbox import Job, Picture, Sandbox
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.model_info import ModelInfo
from pipeline.records.rows import clips_of, pixels_of, samples_row
from pipeline.records.segments import Segment, SegmentSamples, VideoFacts
from pipeline.records.videos import SegmentTask
from pipeline.records.windows import Windows
from pipeline.stages.plan import job_of
from pipeline.stages.sample_buffers import Keeping, Preprocessings, SampleBuffers, lost
from pipeline.stages.windows import clip_inputs
from pipeline.storage.reader import Reader
from pipeline.storage.schemes import open_reader


def decode_video(
    sandbox: Sandbox,
    reader: Reader,
    job: Job,
    *,
    facts: VideoFacts,
    segments: Sequence[Segment],
    preprocessings: Preprocessings,
    thumbnail_px: int | None = None,
) -> Iterator[SegmentSamples]:
    """Decode segments of one video to model input, each to its end or to what cut it short, in their order.

    A decoder that somebody killed is given a second chance at the segment, in a process of its own.

    Raises:
        StorageError: the store failed. Retry; never quarantine.
    """
    keeping = Keeping(preprocessings=preprocessings, thumbnail_px=thumbnail_px, windows=job.windows)
    left = list(segments)
    was_killed = False
    while left:
        try:
            for samples in _decode_on(sandbox, reader, job, facts=facts, segments=left, keeping=keeping):
                yield samples
                del left[0]
                was_killed = False
        except InputError as error:
            if isinstance(error, Killed) and not was_killed:
                was_killed = True
                continue
            # Without the object, or with another in its place, no later segment fares better.
            num_lost = len(left) if isinstance(error, Changed | Unreadable) else 1
            for segment in left[:num_lost]:
                yield lost(segment, error, keeping)
            del left[:num_lost]
            was_killed = False


def _decode_on(
    sandbox: Sandbox,
    reader: Reader,
    job: Job,
    *,
    facts: VideoFacts,
    segments: Sequence[Segment],
    keeping: Keeping,
) -> Iterator[SegmentSamples]:
    """Decode until all have ended.

    Raises:
        InputError: the first segment that was not yielded is lost, for this reason.
    """
    waiting = list(segments)
    buffers = SampleBuffers(segments, keeping, uri=job.uri)
    decoded = sandbox.decode(reader, job, facts=facts, segments=tuple(waiting), preprocessings=keeping.shared)
    with contextlib.closing(cast("Generator[Picture | Dropped | Ended, None, None]", decoded)) as events:
        while waiting:
            segment = waiting.pop(0)
            for event in events:
                if isinstance(event, Dropped):  # perhaps of a later segment, which has pictures of this one's windows
                    buffers.of(event.segment).clear()
                    continue
                if event.segment != segment.index:
                    raise Crashed(job.uri, f"the decoder went on to segment {event.segment} before it ended this one")
                if isinstance(event, Picture):
                    buffers.add(event)
                else:
                    reader.check_unchanged()
                    yield buffers.close(event)
                    break
            else:
                raise Crashed(job.uri, "the decoder stopped before the segment did")
        for _ in events:  # read on to the end: a decoder that is left before it is taken for a broken one
            raise Crashed(job.uri, "the decoder went on after the last segment")


def decode_tasks(
    tasks: pa.Table,
    *,
    sandbox: Sandbox,
    rule: SamplingRule,
    preprocessings: Preprocessings,
    thumbnail_px: int | None = None,
    windows: Windows | None = None,
) -> Iterator[pa.Table]:
    """Decode a block of ``TASKS`` rows; yields a one-row table of ``samples_schema`` for each, in their order.

    Raises:
        StorageError: a store failed.
    """
    keeping = Keeping(preprocessings=preprocessings, thumbnail_px=thumbnail_px, windows=windows)
    each = map(SegmentTask.from_row, tasks.to_pylist())
    for _, group in groupby(each, key=lambda task: (task.video.video_id, task.video.attempts)):
        left = list(group)
        video, facts, segments = left[0].video, left[0].facts, [task.segment for task in left]
        try:
            with open_reader(video.locator, expected=identity_of(video)) as reader:
                decoded = decode_video(
                    sandbox,
                    reader,
                    job_of(video, rule, windows=windows),
                    facts=facts,
                    segments=segments,
                    preprocessings=preprocessings,
                    thumbnail_px=thumbnail_px,
                )
                for samples in decoded:
                    yield samples_row(left.pop(0), samples, windows=windows)
        except InputError as error:  # it cannot even be opened: absent, forbidden or replaced since it was planned
            for task in left:
                yield samples_row(task, lost(task.segment, error, keeping), windows=windows)


def samples_for_model(samples: pa.Table, model: ModelInfo, *, place: int) -> list[NDArray[np.uint8]]:
    """The pictures of decoded segments as the model's ``Embedder`` takes them, ``uint8[T, H, W, 3]``; or clips of them.

    ``place`` is that of the model's preprocessing among those that the segments were decoded for.
    """
    height, width = model.preprocessing.crop_px
    pixels = pixels_of(samples, height=height, width=width, place=place)
    length = model.preprocessing.window
    if length is None:
        return pixels
    each = zip(pixels, clips_of(samples), strict=True)
    return [array for part, clips in each for array in clip_inputs(part, clips, length=length)]
