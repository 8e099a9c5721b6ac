"""What comes of segments while they are decoded: their samples as models take them, their marks, their windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError, OutOfMemory
from pipeline.media.process.messages import Ended
from pipeline.media.process.sandbox import Picture
from pipeline.media.thumbnail_jpeg import encoded, thumbnail_size
from pipeline.models.preprocess import prepare_part, resize
from pipeline.records.crops import part_within
from pipeline.records.model_info import Preprocessing
from pipeline.records.segments import KEEPING_ROWS, FrameMark, Quarantined, Segment, SegmentSamples, Thumbnail
from pipeline.records.windows import Clip, Windows
from pipeline.stages.plan import MAX_SEGMENT_BYTES
from pipeline.stages.windows import clips_in

Preprocessings = tuple[Preprocessing, ...]
"""Each way in which samples are to be prepared, once."""

_MOST_BYTES = 8 * MAX_SEGMENT_BYTES
"""Where a segment turns out to hold many more samples than planned, memory ends before patience does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What is kept of each sample."""

    preprocessings: Preprocessings
    thumbnail_px: int | None = None
    """The longest side of the thumbnails that are made besides, if any."""
    windows: Windows | None = None
    """How samples form windows, if they do."""

    @property
    def shared(self) -> Preprocessings:
        """What the decoder cuts out of a picture: nothing where there are thumbnails, which show the whole of it."""
        return self.preprocessings if self.thumbnail_px is None else ()


class SampleBuffer:
    """The samples of one segment as they come, in an array for each way of preparing them, sized by the plan."""

    def __init__(self, segment: Segment, keeping: Keeping) -> None:
        self._segment = segment
        self._preprocessings = keeping.preprocessings
        self._thumbnail_px = keeping.thumbnail_px
        self._shared = keeping.shared
        self._windows = keeping.windows
        self._room = max(1, segment.num_samples if segment.targets is None else len(segment.targets))
        # Takes memory only where it is written to, so a plan that estimates too many samples costs nothing.
        self._pixels = [np.empty((self._room, *each.crop_px, 3), np.uint8) for each in self._preprocessings]
        self._marks: list[FrameMark] = []
        self._ordinals: list[int] = []
        self._beginnings: list[int] = []  # the places of samples that a window of this segment begins with
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
        if picture.begins and picture.segment + picture.count - 1 == self._segment.index:
            self._beginnings.append(count)
        self._marks.append(picture.mark)
        self._ordinals.append(picture.ordinal)

    def clear(self) -> None:
        """Forget what came so far."""
        self._marks.clear()
        self._thumbnails.clear()
        self._ordinals.clear()
        self._beginnings.clear()

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
            clips=self._clips(failure),
        )

    def _clips(self, failure: Quarantined | None) -> tuple[Clip, ...] | None:
        windows, targets = self._windows, self._segment.targets
        if windows is None:
            return None
        is_planned_short = targets is None or len(targets) < windows.length
        return clips_in(
            self._marks,
            self._ordinals,
            self._beginnings,
            windows=windows,
            may_fill_up=failure is None or is_planned_short,
        )


class SampleBuffers:
    """The buffers of the segments that have pictures: one, or several where windows reach from one into the next."""

    def __init__(self, segments: Sequence[Segment], keeping: Keeping, *, uri: str) -> None:
        self._segments = {segment.index: segment for segment in segments}
        self._keeping = keeping
        self._uri = uri
        self._open: dict[int, SampleBuffer] = {}

    def of(self, index: int) -> SampleBuffer:
        """That of a segment."""
        if index not in self._open:
            self._open[index] = SampleBuffer(self._segments[index], self._keeping)
        return self._open[index]

    def add(self, picture: Picture) -> None:
        """Give a picture to every segment that it is a sample of. Raises as ``SampleBuffer.add``."""
        for index in range(picture.segment, picture.segment + picture.count):
            self.of(index).add(picture, uri=self._uri)

    def close(self, end: Ended) -> SegmentSamples:
        """The finished segment."""
        buffer = self.of(end.segment)
        del self._open[end.segment]
        return buffer.close(end.failure, decoded_frames=end.decoded_frames)


def lost(segment: Segment, error: InputError, keeping: Keeping) -> SegmentSamples:
    """A segment of which nothing is kept."""
    return SampleBuffer(segment, keeping).close(Quarantined.of(error, segment=segment))
