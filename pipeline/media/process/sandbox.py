"""Decoders that may die: each runs in a process of its own, and a crash, a hang or a bomb in it is a value."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import INPUT_ERRORS, Crashed, StorageError
from pipeline.media.process.decoder_process import DecoderProcess
from pipeline.media.process.messages import Done, Dropped, Ended, Event, Failed, Painted, Planned, read_event
from pipeline.media.process.wire import Nonsense
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.crops import part_of
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import FrameMark, Segment, Sizing, TimeRange, VideoFacts, VideoPlan
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is sampled of one video."""

    uri: str
    rule: SamplingRule
    time_range: TimeRange

    def to_json(self) -> dict[str, Any]:
        """The part of a request that every operation shares."""
        times = (self.time_range.start, self.time_range.end)
        return {
            "uri": self.uri,
            "rule": str(self.rule),
            "time_range": [None if t is None else str(t) for t in times],
        }


class Sandbox:
    """One decoder process, started on first use and again after it died.

    Its parent reads the store for it, so that it needs no credentials and can open nothing. Used by one thread at a
    time.
    """

    def __init__(self, limits: DecodeLimits, *, entry: str = "pipeline.media.process.video_work:serve") -> None:
        self._limits = limits
        self._entry = entry
        self._process: DecoderProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the living decoder process, if any."""
        return None if self._process is None else self._process.pid

    def plan(self, reader: Reader, job: Job, *, sizing: Sizing) -> VideoPlan:
        """Probe a video and cut it into segments.

        Raises:
            InputError: the video is unusable, or the decoder crashed, hung or used up its memory over it.
            StorageError: the store failed.
            RunError: no decoder process starts.
        """
        request = {**job.to_json(), "op": "plan", "sizing": asdict(sizing)}
        timeout_s = self._limits.timeout_for(0) + reader.size_bytes / _PLAN_BYTES_PER_S
        conversation = _Conversation([], [timeout_s])
        for event in self._ask(reader, job, request, conversation):
            if isinstance(event, Planned):
                return event.plan
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
        documents = [segment.to_json() for segment in segments]
        request = {**job.to_json(), "op": "decode", "facts": facts.to_json(), "segments": documents}
        request["preprocessings"] = [each.to_json() for each in preprocessings]
        timeouts = [self._limits.timeout_for(_decoded_s(segment, facts)) for segment in segments]
        conversation = _Conversation([segment.index for segment in segments], timeouts)
        for event in self._ask(reader, job, request, conversation, preprocessings=preprocessings):
            if isinstance(event, Picture | Dropped | Ended):
                yield event

    def close(self) -> None:
        """Stop the process."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def _ask(
        self,
        reader: Reader,
        job: Job,
        request: dict[str, Any],
        conversation: "_Conversation",
        *,
        preprocessings: tuple[Preprocessing, ...] = (),
    ) -> Iterator[Event | Picture]:
        if self._process is None:
            self._process = DecoderProcess(self._entry, self._limits)
        process = self._process
        request |= {"size_bytes": reader.size_bytes, "max_pixels": self._limits.max_pixels}
        try:
            process.source.serve(reader)
            process.begin_piece()
            process.send(json.dumps(request).encode(), uri=job.uri, timeout_s=conversation.timeout_s)
            while not conversation.is_over:
                event = read_event(process.receive(uri=job.uri, timeout_s=conversation.timeout_s))
                process.source.raise_fault()
                conversation.hear(event)
                if isinstance(event, Failed):
                    _raise(event, uri=job.uri)
                yield _picture(process, event, preprocessings) if isinstance(event, Painted) else event
                if isinstance(event, Painted) and event.is_last_in_slot:
                    process.send(b"a", uri=job.uri, timeout_s=conversation.timeout_s)
                elif isinstance(event, Ended):
                    process.begin_piece()
        except Nonsense as error:
            raise Crashed(job.uri, f"the decoder talked nonsense ({error})") from None
        finally:
            # Whoever stops listening half-way, or whose decoder failed in an unforeseen way, gets a new one next time.
            if not conversation.is_over:
                self.close()
                process.source.raise_fault()


def _picture(process: DecoderProcess, painted: Painted, preprocessings: tuple[Preprocessing, ...]) -> Picture:
    pixels = process.picture(painted.shape, painted.offset, whole_px=painted.whole_px)
    part = part_of(*painted.whole_px, preprocessings=preprocessings)
    if pixels.shape[:2] != tuple(along.stop - along.start for along in part):
        raise Nonsense(f"{pixels.shape} of a picture of {painted.whole_px}")
    return Picture(segment=painted.segment, mark=painted.mark, pixels=pixels, whole_px=painted.whole_px)


class _Conversation:
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
        elif isinstance(event, Painted | Dropped):
            is_fitting = event.segment in left
        elif isinstance(event, Planned):
            is_fitting = not self._segments
        else:
            is_fitting = isinstance(event, Failed) or bool(self._segments and not left)
        if not is_fitting:
            raise Nonsense(f"{type(event).__name__} has no place here")
        self.is_over = isinstance(event, Planned | Done | Failed)


def _decoded_s(segment: Segment, facts: VideoFacts) -> float:
    """Seconds of video that are decoded for a segment: from its keyframe, or from the file's start."""
    if segment.key_pts is None:
        return segment.end_s
    return segment.end_s - float((segment.key_pts - (facts.origin_pts or 0)) * facts.time_base)


def _raise(failed: Failed, *, uri: str) -> None:
    if failed.reason is None:
        raise StorageError(f"{uri}: the store failed")
    raise INPUT_ERRORS[failed.reason](uri, failed.detail)
