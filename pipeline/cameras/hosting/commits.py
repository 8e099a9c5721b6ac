"""What comes of a stream on its way into the lake: in order, on a thread of its own, again where the store failed."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from pipeline.cameras.hosting.session_run import SessionRun, num_missing
from pipeline.cameras.hosting.tally import Tally
from pipeline.errors import StorageError
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.writer import LiveWriter
from pipeline.records.events import Event
from pipeline.records.streams import Gap

_MOST_UNWRITTEN_BYTES = 64 << 20
"""While the store fails, so much is kept to be written later; then samples are dropped before they cost the model."""


class Commits:
    """Journals a stream's rows, gaps and events every few seconds, and begins and ends its sessions in the lake.

    All methods belong to the stream's event loop; the writer is called on one thread.
    """

    def __init__(self, writer: LiveWriter, *, commit_s: float, tally: Tally) -> None:
        """Nothing is to be written yet."""
        self._writer = writer
        self._commit_s = commit_s
        self._tally = tally
        self._thread = ThreadPoolExecutor(1, "lake")
        self._runs: deque[tuple[Gap | None, SessionRun]] = deque()
        """Sessions that are not ended in the lake, each behind the gap before it."""
        self._last_gap: Gap | None = None
        self._events: list[Event] = []
        self._steps: deque[Callable[[], None]] = deque()
        """What is to be done in the lake, in this order; a step that fails is tried again."""
        self._num_unwritten_bytes = 0
        self._is_begun = False
        self._turn = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._is_stopping = False

    @property
    def is_behind(self) -> bool:
        """Whether the store has failed for so long that no further row can be kept for it."""
        return self._num_unwritten_bytes > _MOST_UNWRITTEN_BYTES

    def begin(self, run: SessionRun, *, behind: Gap | None) -> None:
        """A session begins, behind a gap; those before it are ended first."""
        self._runs.append((behind, run))
        self._wanted.set()

    def end_with(self, gap: Gap | None) -> None:
        """No session comes any more; behind the last one is this gap."""
        self._last_gap = gap

    def event(self, event: Event) -> None:
        """An event of the stream that belongs to no session's analysis."""
        self._events.append(event)

    def soon(self) -> None:
        """Commit at once: a session has begun or ended."""
        self._wanted.set()

    async def run(self) -> None:
        """Commit every few seconds, until ``stop`` is called; it must not be cancelled, for a step may be under way.

        Raises:
            RunError: the lake takes nothing from here any more, as when another program has taken the stream over.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        while not self._is_stopping:
            with contextlib.suppress(TimeoutError):  # from one beginning to the next: a slow store takes nothing longer
                async with asyncio.timeout(max(0.0, began + self._commit_s - clock())):
                    await self._wanted.wait()
            self._wanted.clear()
            began = clock()
            try:
                await self.commit()
            except StorageError as error:
                self._tally.last_error = str(error)
                await asyncio.sleep(min(1.0, self._commit_s))

    def stop(self) -> None:
        """Have ``run`` return; ``close`` commits what is left."""
        self._is_stopping = True
        self._wanted.set()

    async def commit(self) -> None:
        """Write all that is known.

        Raises:
            StorageError: the store failed; what was not written is kept for the next time.
            RunError: as of ``run``.
        """
        async with self._turn:
            self._plan_all()
            loop = asyncio.get_running_loop()
            while self._steps:
                await loop.run_in_executor(self._thread, self._steps[0])
                self._steps.popleft()
            self._num_unwritten_bytes = 0
            publish_due = partial(self._writer.publish_due, again_in_s=self._commit_s)
            await loop.run_in_executor(self._thread, publish_due)

    async def close(self) -> None:
        """Write what is left, publish it, and give the lease back.

        Raises:
            StorageError: the store failed.
        """
        try:
            await self.commit()
        finally:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._writer.close)
            self._thread.shutdown(wait=False)

    def _plan_all(self) -> None:
        """Turn what the sessions and listeners have brought into steps."""
        while self._runs:
            gap, run = self._runs[0]
            if not self._is_begun:
                self._plan_gap(gap)
                self._steps.append(partial(self._writer.begin, run.session))
                self._is_begun = True
            is_settled = run.is_settled
            self._plan(run.take())
            if not is_settled:
                return
            self._steps.append(partial(self._writer.end, ended_at=run.ledger.end_at))
            self._runs.popleft()
            self._is_begun = False
        self._plan_gap(self._last_gap)
        self._last_gap = None
        self._plan(LiveBatch())

    def _plan_gap(self, gap: Gap | None) -> None:
        if gap is not None:
            self._plan(LiveBatch(gaps=(gap,)))

    def _plan(self, batch: LiveBatch) -> None:
        events, self._events = self._events, []
        batch = replace(batch, events=(*batch.events, *events))
        self._tally.count("gaps", num_missing(batch.gaps))
        if batch.features is not None:
            self._num_unwritten_bytes += batch.features.nbytes
        if not batch.is_empty:
            self._steps.append(partial(self._writer.commit, batch))
