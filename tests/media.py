"""Planning and decoding in this very process, for tests of what is picked; ``Sandbox`` has tests of its own."""

import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.decode.pixels import Painter
from pipeline.media.decode.segments import Finished, Restarted, decode_segments
from pipeline.media.probe.plan_video import PlanRequest, plan_video
from pipeline.media.sampling.rules import read_rule
from pipeline.records.segments import FrameMark, Quarantined, Segment, Sizing, TimeRange, VideoPlan

MAX_PIXELS = 4_000_000
WHOLE = TimeRange()


@dataclass
class Decoded:
    """What a video gave."""

    marks: list[FrameMark] = field(default_factory=list)
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    failures: list[Quarantined] = field(default_factory=list)
    num_restarts: int = 0

    @property
    def pts(self) -> list[int]:
        return [mark.pts for mark in self.marks]


class CountingFile(io.BytesIO):
    """A file that knows how much of it was read."""

    num_read = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.num_read += len(data)
        return data


def plan(
    data: bytes,
    rule: str = "fps:1",
    *,
    segment_s: float | None = None,
    max_samples: int = 512,
    time_range: TimeRange = WHOLE,
    max_pixels: int = MAX_PIXELS,
    file: io.BytesIO | None = None,
) -> VideoPlan:
    request = PlanRequest(
        uri="memory",
        size_bytes=len(data),
        rule=read_rule(rule),
        time_range=time_range,
        sizing=Sizing(duration_s=segment_s, max_samples=max_samples),
        max_pixels=max_pixels,
    )
    return plan_video(file or io.BytesIO(data), request)


def decode(
    data: bytes,
    planned: VideoPlan,
    rule: str = "fps:1",
    *,
    segments: list[Segment] | None = None,
    time_range: TimeRange = WHOLE,
    max_pixels: int = MAX_PIXELS,
) -> Decoded:
    """Decode segments as ``Sandbox`` does, and hold each to exactly one end, in order."""
    chosen = list(planned.segments) if segments is None else segments
    video = OpenVideo(
        io.BytesIO(data),
        uri="memory",
        facts=planned.facts,
        rule=read_rule(rule),
        time_range=time_range,
        max_pixels=max_pixels,
    )
    found: dict[int, list[tuple[FrameMark, NDArray[np.uint8]]]] = {segment.index: [] for segment in chosen}
    decoded = Decoded()
    painter = Painter()
    ended = []
    for event in decode_segments(video, chosen):
        if isinstance(event, Picked):
            room = np.empty(painter.shape_of(event.frame), np.uint8)
            painter.paint(event.frame, into=room)
            found[event.segment].append((event.mark, room))
        elif isinstance(event, Restarted):
            found[event.segment].clear()
            decoded.num_restarts += 1
        elif isinstance(event, Finished):
            ended.append(event.segment)
            decoded.failures += [] if event.failure is None else [event.failure]
    assert ended == [segment.index for segment in chosen]
    for pairs in found.values():
        decoded.marks += [mark for mark, _ in pairs]
        decoded.pictures += [picture for _, picture in pairs]
    return decoded


def extract(data: bytes, rule: str = "fps:1", *, segment_s: float | None = None, max_samples: int = 512) -> Decoded:
    """Plan and decode the whole video."""
    return decode(data, plan(data, rule, segment_s=segment_s, max_samples=max_samples), rule)
