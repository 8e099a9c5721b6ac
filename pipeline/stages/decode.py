"""The stage behind the plan, free of Ray: segments of a video to samples that are ready for the models."""

import contextlib
from collections.abc import Generator, Iterator, Sequence
from itertools import groupby
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import Changed, Crashed, InputError, Killed, OutOfMemory, Unreadable
from pipeline.inputs.sources import identity_of
from pipeline.media.process.messages import Dropped, Ended
from pipeline.media.process.sandbox import Job, Picture, Sandbox
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.thumbnail_jpeg import encoded, thumbnail_size
from pipeline.models.preprocess import prepare_part, resize
from pipeline.records.crops import part_within
from pipeline.records.model_info import ModelInfo, Preprocessing
from pipeline.records.rows import pixels_of, samples_row
from pipeline.records.segments import (
    KEEPING_ROWS,
    FrameMark,
    Quarantined,
    Segment,
    SegmentSamples,
    Thumbnail,
    VideoFacts,
)
from pipeline.records.videos import SegmentTask
from pipeline.stages.plan import MAX_SEGMENT_BYTES, job_of
from pipeline.storage.reader import Reader
from pipeline.storage.schemes import open_reader

Preprocessings = tuple[Preprocessing, ...]
"""Each way in which samples are to be prepared, once."""

_MOST_BYTES = 8 * MAX_SEGMENT_BYTES
"""Where a segment turns out to hold many more samples than planned, memory ends before patience does."""


class SampleBuffer:
    """The samples of one segment as they come, in an array for each way of preparing them, sized by the plan."""

    def __init__(self, segment: Segment, *, preprocessings: Preprocessings, thumbnail_px: int | None = None) -> None:
        """Begin a segment; ``thumbnail_px``: the longest side of the thumbnails that are made besides, if any."""
        self._segment = segment
        self._preprocessings = preprocessings
        self._thumbnail_px = thumbnail_px
        self._shared = preprocessings if thumbnail_px is None else ()
        self._room = max(1, segment.num_samples)
        # Takes memory only where it is written to, so a plan that estimates too many samples costs nothing.
        self._pixels = [np.empty((self._room, *each.crop_px, 3), np.uint8) for each in preprocessings]
        self._marks: list[FrameMark] = []
        self._thumbnails: list[Thumbnail] = []

    def add(self, picture: Picture, *, uri: str) -> None:
        """Prepare one picture in each way, and keep that; of the picture, only the part came that is needed for it.

        Raises:
            OutOfMemory: there are far more than any plan gives a segment.
        """
        count = len(self._marks)
        if count == self._room:
            if (
                sum(each.nbytes for each in self._pixels) + sum(len(each.jpeg) for each in self._thumbnails)
                > _MOST_BYTES
            ):
                raise OutOfMemory(uri, f"more than {count} samples, where {self._segment.num_samples} were expected")
            self._pixels = [np.concatenate([pixels, np.empty_like(pixels)]) for pixels in self._pixels]
            self._room *= 2
        whole_px = picture.whole_px
        for preprocessing, pixels in zip(self._preprocessings, self._pixels, strict=True):
            part = part_within(*whole_px, preprocessing=preprocessing, preprocessings=self._shared)
            prepare_part(picture.pixels[part], whole_px=whole_px, preprocessing=preprocessing, into=pixels[count])
        if self._thumbnail_px is not None:
            size = thumbnail_size(*whole_px, longest_px=self._thumbnail_px)
            self._thumbnails.append(encoded(resize(picture.pixels, size=size, interpolation="bicubic")))
        self._marks.append(picture.mark)

    def clear(self) -> None:
        """Forget what came so far."""
        self._marks.clear()
        self._thumbnails.clear()

    def close(self, failure: Quarantined | None, *, decoded_frames: int = 0) -> SegmentSamples:
        """The finished segment; one that failed in a way that keeps no rows has none."""
        if failure is not None and failure.reason not in KEEPING_ROWS:
            self.clear()
        count = len(self._marks)
        pixels = tuple(pixels[:count] for pixels in self._pixels)
        return SegmentSamples(
            segment=self._segment,
            marks=tuple(self._marks),
            pixels=pixels,
            failure=failure,
            decoded_frames=decoded_frames,
            thumbnails=None if self._thumbnail_px is None else tuple(self._thumbnails),
        )


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
    left = list(segments)
    was_killed = False
    while left:
        try:
            decoded = _decode_on(
                sandbox,
                reader,
                job,
                facts=facts,
                segments=left,
                preprocessings=preprocessings,
                thumbnail_px=thumbnail_px,
            )
            for samples in decoded:
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
                yield _lost(segment, error, preprocessings=preprocessings, thumbnail_px=thumbnail_px)
            del left[:num_lost]
            was_killed = False


def _decode_on(
    sandbox: Sandbox,
    reader: Reader,
    job: Job,
    *,
    facts: VideoFacts,
    segments: Sequence[Segment],
    preprocessings: Preprocessings,
    thumbnail_px: int | None,
) -> Iterator[SegmentSamples]:
    """Decode until all have ended.

    Raises:
        InputError: the first segment that was not yielded is lost, for this reason.
    """
    waiting = list(segments)
    # Only a whole picture has a thumbnail; what the models take is then cut out of it here.
    wanted = preprocessings if thumbnail_px is None else ()
    decoded = sandbox.decode(reader, job, facts=facts, segments=tuple(waiting), preprocessings=wanted)
    with contextlib.closing(cast("Generator[Picture | Dropped | Ended, None, None]", decoded)) as events:
        while waiting:
            segment = waiting.pop(0)
            buffer = SampleBuffer(segment, preprocessings=preprocessings, thumbnail_px=thumbnail_px)
            for event in events:
                if event.segment != segment.index:
                    if isinstance(event, Dropped):
                        continue  # of a later segment, which has no pictures here yet
                    raise Crashed(job.uri, f"the decoder went on to segment {event.segment} before it ended this one")
                if isinstance(event, Picture):
                    buffer.add(event, uri=job.uri)
                elif isinstance(event, Dropped):
                    buffer.clear()
                else:
                    reader.check_unchanged()
                    yield buffer.close(event.failure, decoded_frames=event.decoded_frames)
                    break
            else:
                raise Crashed(job.uri, "the decoder stopped before the segment did")
        for _ in events:  # read on to the end: a decoder that is left before it is taken for a broken one
            raise Crashed(job.uri, "the decoder went on after the last segment")


def _lost(
    segment: Segment, error: InputError, *, preprocessings: Preprocessings, thumbnail_px: int | None
) -> SegmentSamples:
    buffer = SampleBuffer(segment, preprocessings=preprocessings, thumbnail_px=thumbnail_px)
    return buffer.close(Quarantined.of(error, segment=segment))


def decode_tasks(
    tasks: pa.Table,
    *,
    sandbox: Sandbox,
    rule: SamplingRule,
    preprocessings: Preprocessings,
    thumbnail_px: int | None = None,
) -> Iterator[pa.Table]:
    """Decode a block of ``TASKS`` rows; yields a one-row table of ``samples_schema`` for each, in their order.

    Raises:
        StorageError: a store failed.
    """
    each = map(SegmentTask.from_row, tasks.to_pylist())
    for _, group in groupby(each, key=lambda task: (task.video.video_id, task.video.attempts)):
        left = list(group)
        video, facts, segments = left[0].video, left[0].facts, [task.segment for task in left]
        try:
            with open_reader(video.locator, expected=identity_of(video)) as reader:
                decoded = decode_video(
                    sandbox,
                    reader,
                    job_of(video, rule),
                    facts=facts,
                    segments=segments,
                    preprocessings=preprocessings,
                    thumbnail_px=thumbnail_px,
                )
                for samples in decoded:
                    yield samples_row(left.pop(0), samples)
        except InputError as error:  # it cannot even be opened: absent, forbidden or replaced since it was planned
            for task in left:
                lost = _lost(task.segment, error, preprocessings=preprocessings, thumbnail_px=thumbnail_px)
                yield samples_row(task, lost)


def samples_for_model(samples: pa.Table, model: ModelInfo, *, place: int) -> list[NDArray[np.uint8]]:
    """The pictures of decoded segments as the model's ``Embedder`` takes them, one ``uint8[T, H, W, 3]`` a row.

    ``place`` is that of the model's preprocessing among those that the segments were decoded for.
    """
    height, width = model.preprocessing.crop_px
    return pixels_of(samples, height=height, width=width, place=place)
