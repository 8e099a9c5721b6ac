"""Recordings through the batch road: plan, decode and embed exactly the frames that are asked for.

A few threads decode, each in a process of its own, and the caller's embeds. A segment or two of each thread is in
memory at a time, however long the recordings are.
"""

import contextlib
import itertools
import os
import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.recordings.files import Recording
from pipeline.errors import InputError, RunError, UsageError
from pipeline.lake.dataset import DatasetInfo
from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.recorded import PtsRule, SlotsRule
from pipeline.models.embedder import Embedder
from pipeline.models.preprocess import use_one_thread
from pipeline.models.registry import load_model
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import WHOLE_VIDEO, FrameMark, SegmentSamples, VideoFacts
from pipeline.stages.decode import decode_video
from pipeline.stages.plan import sizing_for
from pipeline.storage.schemes import locator_of, open_reader

_MOST_THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which frames of a recording are wanted."""

    recording: Recording
    rule: SlotsRule | PtsRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Some of the wanted frames of a recording, by pts, and what the model makes of them."""

    wanted: Wanted
    facts: VideoFacts
    marks: tuple[FrameMark, ...]
    """With the recording's pts, in its own time base."""
    features: NDArray[np.float32]
    """``float32[T, D]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """All that there is of a recording has come; with ``error``, it is gone or cannot be read."""

    wanted: Wanted
    facts: VideoFacts | None
    error: InputError | None = None


def covered(facts: VideoFacts) -> tuple[Fraction, Fraction]:
    """When the first frame of a recording is shown and when its last one ends, by the stream's clock, in seconds."""
    start = (facts.origin_pts or 0) * facts.time_base
    return start, start + Fraction(facts.duration_s)


def embedder_of(info: DatasetInfo) -> Embedder:
    """The model of a lake, ready to embed.

    Raises:
        UsageError: its weights are not those that the lake was made with, or it is no model of single pictures.
    """
    config = info.config
    if config.windows is not None or config.content != "features":
        raise UsageError("streams and their recordings are for lakes with a feature of each picture")
    model = load_model(config.model.name, weights=info.weights, window=None)
    if model.info != config.model:
        raise UsageError(
            f"the weights of {config.model.name} at {info.weights} are not those of the lake: give --weights"
        )
    return Embedder(model, precision=config.precision)


def replay(wanted: Iterable[Wanted], embedder: Embedder) -> Iterator[Replayed | Over]:
    """The wanted frames of recordings, in their order: parts of one, then its ``Over``, then those of the next.

    Raises:
        StorageError: a store failed.
        RunError: no decoder process starts.
    """
    preprocessing = embedder.info.preprocessing
    with contextlib.closing(_decoded(wanted, preprocessing)) as parts:
        for part in parts:
            if isinstance(part, Over):
                yield part
                continue
            # Where a target does not decode, the picker takes the frame behind it, which nobody asked for.
            targets = set(part.samples.segment.targets or ())
            kept = [at for at, mark in enumerate(part.samples.marks) if mark.pts in targets]
            if kept:
                marks = tuple(part.samples.marks[at] for at in kept)
                features = embedder.embed([part.samples.pixels[0][kept]])
                yield Replayed(wanted=part.wanted, facts=part.facts, marks=marks, features=features)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decoded:
    wanted: Wanted
    facts: VideoFacts
    samples: SegmentSamples


_Parts = queue.Queue[_Decoded | Over | RunError]


def _decoded(wanted: Iterable[Wanted], preprocessing: Preprocessing) -> Generator[_Decoded | Over]:
    """Decode on a few threads; what comes is in the order of what is wanted."""
    num_threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    left = iter(wanted)
    with contextlib.ExitStack() as stack:
        idle = deque(stack.enter_context(_Decoder(preprocessing)) for _ in range(num_threads))
        busy: deque[tuple[_Decoder, _Parts]] = deque()
        while True:
            for each in itertools.islice(left, len(idle)):
                decoder = idle.popleft()
                busy.append((decoder, decoder.begin(each)))
            if not busy:
                return
            decoder, parts = busy.popleft()
            while not isinstance(part := parts.get(), Over):
                if isinstance(part, RunError):
                    raise part
                yield part
            idle.append(decoder)
            yield part


class _Decoder:
    """A thread and its decoder process; one recording at a time."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessings = (preprocessing.beside_the_decoder,)
        self._sizing = sizing_for(self._preprocessings)
        self._sandbox = Sandbox(DecodeLimits())
        self._tasks: queue.SimpleQueue[tuple[Wanted, _Parts] | None] = queue.SimpleQueue()
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="replay", daemon=True)

    def __enter__(self) -> "_Decoder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopped.set()
        self._tasks.put(None)
        self._thread.join()
        self._sandbox.close()

    def begin(self, wanted: Wanted) -> _Parts:
        """Where the parts of a recording will come."""
        parts: _Parts = queue.Queue(maxsize=1)
        self._tasks.put((wanted, parts))
        return parts

    def _work(self) -> None:
        use_one_thread()
        while (task := self._tasks.get()) is not None:
            wanted, parts = task
            try:
                for part in self._parts(wanted):
                    self._put(parts, part)
            except RunError as error:
                self._put(parts, error)

    def _put(self, parts: _Parts, part: _Decoded | Over | RunError) -> None:
        while not self._is_stopped.is_set():
            with contextlib.suppress(queue.Full):
                parts.put(part, timeout=0.1)
                return

    def _parts(self, wanted: Wanted) -> Iterator[_Decoded | Over]:
        job = Job(uri=wanted.recording.uri, rule=wanted.rule, time_range=WHOLE_VIDEO)
        facts: VideoFacts | None = None
        try:
            with open_reader(locator_of(wanted.recording.uri)) as reader:
                plan = self._sandbox.plan(reader, job, sizing=self._sizing)
                facts = plan.facts
                segments = [segment for segment in plan.segments if segment.targets]
                decoded = decode_video(
                    self._sandbox, reader, job, facts=facts, segments=segments, preprocessings=self._preprocessings
                )
                for samples in decoded:
                    if self._is_stopped.is_set():
                        return
                    yield _Decoded(wanted=wanted, facts=facts, samples=samples)
            yield Over(wanted=wanted, facts=facts)
        except InputError as error:
            yield Over(wanted=wanted, facts=facts, error=error)
