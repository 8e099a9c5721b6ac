"""Decoders that may die: each runs in a process of its own, and a crash, a hang or a bomb in it is a value."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.media.process.dialogue import Dialogue
from pipeline.media.process.messages import (
    Decode,
    Done,
    Dropped,
    Ended,
    Event,
    Failed,
    Painted,
    Plan,
    Planned,
    StorageFailed,
)
from pipeline.media.process.wire import Nonsense
from pipeline.media.sampling.footage import ShotSpan
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import FrameMark, Segment, Sizing, TimeRange, VideoFacts, VideoPlan
from pipeline.records.windows import Windows
from pipeline.storage.reader import Reader

__all__ = ["Dropped", "Ended", "Job", "Picture", "Sandbox"]

# A plan reads a whole container at worst; storage does not count, so this much is parsed with ease.
_PLAN_BYTES_PER_S = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A sample as decoded: upright RGB ``uint8[h, w, 3]``, valid only until the next event is asked for.

    Of a picture of ``whole_px`` (height, width), the part that holds what the models' inputs are made of, where any
    were named.
    """

    segment: int
    mark: FrameMark
    pixels: NDArray[np.uint8]
    whole_px: tuple[int, int]
    count: int = 1
    """Of consecutive segments, the first of which is ``segment``: it is a sample of each."""
    ordinal: int = 0
    """Which sample of its epoch it is, where samples form windows."""
    begins: bool = False
    """Whether a window of the last of these segments begins with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is sampled of one video."""

    uri: str
    rule: SamplingRule
    time_range: TimeRange
    windows: Windows | None = None
    """How samples form windows; ``None``: each stands by itself."""
    shots: tuple[ShotSpan, ...] = ()
    """Of the video, where the rule goes by them."""


class Sandbox:
    """One decoder process, started on first use and again after it died.

    Its parent reads the store for it, so that it needs no credentials and can open nothing. Used by one thread at a
    time.
    """

    def __init__(self, limits: DecodeLimits, *, entry: str = "pipeline.media.process.video_work:serve") -> None:
        self._limits = limits
        self._dialogue = Dialogue(limits, entry=entry)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the living decoder process, if any."""
        return self._dialogue.pid

    def plan(self, reader: Reader, job: Job, *, sizing: Sizing) -> VideoPlan:
        """Probe a video and cut it into segments.

        Raises:
            InputError: the video is unusable, or the decoder crashed, hung or used up its memory over it.
            StorageError: the store failed.
            RunError: no decoder process starts.
        """
        request = Plan(
            size_bytes=reader.size_bytes,
            max_pixels=self._limits.max_pixels,
            rule=str(job.rule),
            shots=job.shots,
            time_range=job.time_range,
            windows=job.windows,
            sizing=sizing,
        )
        timeout_s = self._limits.timeout_for(0) + reader.size_bytes / _PLAN_BYTES_PER_S
        for event, _ in self._dialogue.ask(reader, request, _AboutVideo([], [timeout_s]), uri=job.uri):
            if isinstance(event, Planned):
                return VideoPlan(facts=event.facts, segments=event.segments)
        raise AssertionError("a conversation without segments ends with a plan")

    def decode(
        self,
        reader: Reader,
        job: Job,
        *,
        facts: VideoFacts,
        segments: Sequence[Segment],
        preprocessings: tuple[Preprocessing, ...] = (),
    ) -> Iterator[Picture | Dropped | Ended]:
        """Decode consecutive segments of a video; of a picture only the part comes that holds what these keep of it.

        Yields:
            The pictures of a segment in presentation order, then its ``Ended``.

        Raises:
            InputError: the first segment that has not ended is lost, for this reason; call again for those after it.
            StorageError: the store failed.
            RunError: no decoder process starts.
        """
        if not segments:
            return
        request = Decode(
            size_bytes=reader.size_bytes,
            max_pixels=self._limits.max_pixels,
            rule=str(job.rule),
            time_range=job.time_range,
            windows=job.windows,
            facts=facts,
            segments=tuple(segments),
            preprocessings=preprocessings,
        )
        timeouts_s = [self._limits.timeout_for(_decoded_s(segment, facts, job.windows)) for segment in segments]
        conversation = _AboutVideo([segment.index for segment in segments], timeouts_s)
        for event, pixels in self._dialogue.ask(reader, request, conversation, uri=job.uri):
            if isinstance(event, Painted) and pixels is not None:
                yield Picture(
                    segment=event.segment,
                    mark=event.mark,
                    pixels=pixels,
                    whole_px=event.whole_px,
                    count=event.count,
                    ordinal=event.ordinal,
                    begins=event.begins,
                )
            elif isinstance(event, Dropped | Ended):
                yield event

    def close(self) -> None:
        """Stop the process."""
        self._dialogue.close()


class _AboutVideo:
    """What a request may be answered with: each segment ends once, in order, and then there is nothing more."""

    def __init__(self, segments: list[int], timeouts_s: list[float]) -> None:
        self._segments = segments
        self._timeouts_s = timeouts_s
        self._num_ended = 0
        self.is_over = False

    @property
    def timeout_s(self) -> float:
        """Of the present piece of work; the last one's for what follows it."""
        return self._timeouts_s[min(self._num_ended, len(self._timeouts_s) - 1)]

    def hear(self, event: Event) -> None:
        """Take note of an event.

        Raises:
            Nonsense: it has no place here.
        """
        left = self._segments[self._num_ended :]
        if isinstance(event, Ended):
            is_fitting = left[:1] == [event.segment]
            self._num_ended += 1
        elif isinstance(event, Painted):
            at = left.index(event.segment) if event.segment in left else len(left)
            is_fitting = 1 <= event.count <= len(left) - at
        elif isinstance(event, Dropped):
            is_fitting = event.segment in left
        elif isinstance(event, Planned):
            is_fitting = not self._segments
        elif isinstance(event, Done):
            is_fitting = bool(self._segments and not left)
        else:
            is_fitting = isinstance(event, Failed | StorageFailed)
        if not is_fitting:
            raise Nonsense(f"{type(event).__name__} has no place here")
        self.is_over = isinstance(event, Planned | Done | Failed | StorageFailed)


def _decoded_s(segment: Segment, facts: VideoFacts, windows: Windows | None) -> float:
    """Seconds of video that are decoded for a segment: from its keyframe, or from the file's start.

    With windows, up to the end of the last one that begins in it.
    """
    end_s = segment.end_s
    if windows is not None and facts.is_sequential:
        end_s = max(end_s, facts.duration_s)
    elif windows is not None and segment.targets:
        end_s = max(end_s, float((segment.targets[-1] - (facts.origin_pts or 0)) * facts.time_base))
    if segment.key_pts is None:
        return end_s
    return end_s - float((segment.key_pts - (facts.origin_pts or 0)) * facts.time_base)
