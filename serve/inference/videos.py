"""Posted videos, each decoded by the batch job's own code in a process that may die."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from typing_extensions import override

from pipeline.media.process.sandbox import Job, Sandbox
from pipeline.media.sampling.rule import SamplingRule
from pipeline.models.preprocess import use_one_thread
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import SegmentSamples, Sizing, TimeRange, VideoPlan
from pipeline.records.windows import Windows
from pipeline.stages.decode import decode_video
from pipeline.storage.reader import Identity, Reader
from serve.problems import TooLong
from serve.settings import Limits

POSTED = "the posted video"
# A segment's samples reach the model together. They are few, so that these are embedded while the next are decoded.
_SIZING = Sizing(max_samples=32)
_ENDING_S = 5.0

Result = TypeVar("Result")


class PostedFile(Reader):
    """A posted body in a file without a name. There is no store behind it that could fail or change."""

    def __init__(self, file: IO[bytes], *, size_bytes: int) -> None:
        self.uri = POSTED
        self.size_bytes = size_bytes
        self._file = file

    @override
    def read_at(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    @override
    def _identities(self) -> list[Identity]:
        return []

    @override
    def close(self) -> None:
        """Do nothing: the file belongs to the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """A video that is being decoded."""

    plan: VideoPlan
    segments: AsyncIterator[SegmentSamples]
    """The samples of each segment in order, ready for the model; a segment that failed says why."""


class VideoDecoders:
    """The decoder processes, one for each video that may be decoded at once. They serve one request after another."""

    def __init__(self, limits: Limits, *, preprocessing: Preprocessing, windows: Windows | None = None) -> None:
        """Prepare; the first process starts when the first video comes. ``windows``: of a model of clips."""
        self._limits = limits
        self._windows = windows
        self._preprocessing = preprocessing
        count = limits.decoders or len(os.sched_getaffinity(0))
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode", initializer=use_one_thread)
        self._free: asyncio.Queue[Sandbox] = asyncio.Queue()
        self._ending: set[asyncio.Task[None]] = set()
        self._is_closed = False
        for _ in range(count):
            self._free.put_nowait(Sandbox(self._decode_limits()))

    def _decode_limits(self) -> DecodeLimits:
        return DecodeLimits(
            timeout_s=self._limits.max_seconds,
            memory_bytes=self._limits.decode_memory_bytes,
            max_pixels=self._limits.max_pixels,
        )

    @contextlib.asynccontextmanager
    async def decoding(self, reader: Reader, rule: SamplingRule) -> AsyncIterator[Decoding]:
        """Plan and decode a video, waiting for a free decoder.

        Raises:
            InputError: the whole video is unusable, or the decoder died over it.
            TooLong: it lasts longer, or has more samples, than one request may have.
        """
        sandbox = await self._free.get()
        calls = _Calls(self._threads)
        try:
            job = Job(uri=reader.uri, rule=rule, time_range=TimeRange(), windows=self._windows)
            plan = await calls.run(lambda: sandbox.plan(reader, job, sizing=_SIZING))
            self._require_short(plan)
            yield Decoding(plan=plan, segments=calls.ahead(self._samples(sandbox, reader, job, plan)))
        finally:
            # A thread may still decode when the client has gone or the time is up: the request does not wait for it.
            ending = asyncio.create_task(self._take_back(sandbox, calls))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all processes; one that is still decoding for a request that was given up has a moment to finish."""
        self._is_closed = True
        while not self._free.empty():
            self._free.get_nowait().close()
        if self._ending:
            await asyncio.wait(self._ending, timeout=_ENDING_S)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _samples(self, sandbox: Sandbox, reader: Reader, job: Job, plan: VideoPlan) -> Iterator[SegmentSamples]:
        return decode_video(
            sandbox, reader, job, facts=plan.facts, segments=plan.segments, preprocessings=(self._preprocessing,)
        )

    def _require_short(self, plan: VideoPlan) -> None:
        limits = self._limits
        if plan.facts.duration_s > limits.max_duration_s:
            raise TooLong(f"{plan.facts.duration_s:.1f} s of video are more than {limits.max_duration_s:g} s")
        num_samples = sum(segment.num_samples for segment in plan.segments)
        if num_samples > 2 * limits.max_samples:  # an estimate: the samples themselves are counted as they come
            raise TooLong(f"about {num_samples} samples are more than {limits.max_samples}")

    async def _take_back(self, sandbox: Sandbox, calls: "_Calls") -> None:
        await calls.end()
        if self._is_closed:
            sandbox.close()
        else:
            self._free.put_nowait(sandbox)


class _Calls:
    """One request's calls in the decoding threads, one after another."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._latest: Future[Any] | None = None
        self._segments: Iterator[SegmentSamples] = iter(())

    async def run(self, call: Callable[[], Result]) -> Result:
        """The call's result. Where the caller stops waiting for it, ``end`` does."""
        return await asyncio.wrap_future(self._submit(call))

    async def ahead(self, segments: Iterator[SegmentSamples]) -> AsyncIterator[SegmentSamples]:
        """What an iterator yields; the next item is made while the caller works with the one before."""
        self._segments = segments
        upcoming = self._submit(lambda: next(segments, None))
        while (samples := await asyncio.wrap_future(upcoming)) is not None:
            upcoming = self._submit(lambda: next(segments, None))
            yield samples

    async def end(self) -> None:
        """Wait for the call that is still running, and close the iterator if it was not read to its end."""
        if self._latest is not None:
            await asyncio.gather(asyncio.wrap_future(self._latest), return_exceptions=True)
        if isinstance(self._segments, Generator):
            await self.run(self._segments.close)

    def _submit(self, call: Callable[[], Result]) -> "Future[Result]":
        self._latest = future = self._threads.submit(call)
        return future
