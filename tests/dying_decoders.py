"""Decoder processes that are real but for where they end."""

import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.decode.segments import Event, decode_segments
from pipeline.media.process import video_work
from pipeline.records.segments import Segment


def segfaults_in_segment_1(control: Any, source: Any, shared: Any) -> None:
    """At the second picture of segment 1, whoever decodes it."""

    def decode(video: OpenVideo, segments: Sequence[Segment]) -> Iterator[Event]:
        num_picked = 0
        for event in decode_segments(video, segments):
            if isinstance(event, Picked) and event.segment == 1:
                num_picked += 1
                if num_picked == 2:
                    os.kill(os.getpid(), signal.SIGSEGV)
            yield event

    video_work.decode_segments = decode  # type: ignore[attr-defined]
    video_work.serve(control, source, shared)


def yields_far_too_many(control: Any, source: Any, shared: Any) -> None:
    """The first picture of each segment, again and again."""

    def decode(video: OpenVideo, segments: Sequence[Segment]) -> Iterator[Event]:
        for event in decode_segments(video, segments):
            while isinstance(event, Picked):
                yield event
            yield event

    video_work.decode_segments = decode  # type: ignore[attr-defined]
    video_work.serve(control, source, shared)
