"""Batches for the model, filled with the pictures of all callers that wait."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Features = NDArray[np.float32]


@dataclass(slots=True)
class _Waiting:
    """One caller's pictures. A batch may take some of them, and later batches or one beside it the rest."""

    pictures: Pictures
    answer: asyncio.Future[Features]
    num_taken: int = 0
    parts: dict[int, Features] = field(default_factory=dict)
    """Features by the picture at which they start; batches may end in any order."""

    @property
    def num_left(self) -> int:
        return len(self.pictures) - self.num_taken

    def take(self, count: int) -> "_Part":
        part = _Part(self, self.num_taken, self.pictures[self.num_taken : self.num_taken + count])
        self.num_taken += count
        return part

    def receive(self, start: int, features: Features) -> None:
        self.parts[start] = features
        if sum(map(len, self.parts.values())) == len(self.pictures) and not self.answer.done():
            self.answer.set_result(np.concatenate([self.parts[start] for start in sorted(self.parts)]))

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class _Part:
    """Those of a caller's pictures that one batch takes."""

    waiting: _Waiting
    start: int
    pictures: Pictures


class Batcher:
    """Keeps one model busy.

    An idle model starts at once. While it is busy callers wait, and the next batch takes all pictures that wait, up to
    ``batch_size``. If there are more, every caller gets a fair share of the batch, so that one long video does not
    starve the stills. (``ray.serve.batch`` would form new, small batches while the model is busy.)

    A model with several lanes gives all of them to a single picture, and divides them among several pictures: batches
    side by side, each on cores of its own, take less time than one after another on all cores.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[Pictures], int], Awaitable[Features]],
        *,
        batch_size: int,
        num_lanes: int = 1,
        on_batch: Callable[[int], None] = lambda num_pictures: None,
    ) -> None:
        """Feed ``embed`` with a batch and its number of lanes; ``on_batch`` is called with the size of each batch."""
        self._embed = embed
        self._batch_size = batch_size
        self._num_free = num_lanes
        self._on_batch = on_batch
        self._waiting: list[_Waiting] = []
        self._num_coming = 0
        self._is_starting = False
        self._running: set[asyncio.Task[None]] = set()

    @property
    def num_waiting(self) -> int:
        """Pictures that no batch has taken yet."""
        return sum(waiting.num_left for waiting in self._waiting)

    @contextlib.contextmanager
    def coming(self) -> Iterator[None]:
        """Announce a picture that is being decoded and will soon need a lane."""
        self._num_coming += 1
        try:
            yield
        finally:
            self._num_coming -= 1

    async def embed(self, pictures: Pictures) -> Features:
        """Turn model inputs ``uint8[T, H, W, 3]``, T at least 1, into features ``float32[T, D]``.

        Raises:
            UsageError: a feature is not finite.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(pictures, loop.create_future())
        self._waiting.append(waiting)
        if not self._is_starting:  # callers that come at the same moment share a batch
            self._is_starting = True
            loop.call_soon(self._start)
        return await waiting.answer

    def _start(self) -> None:
        """Divide the free lanes among batches: as many as there are lanes or, if fewer, pictures."""
        self._is_starting = False
        # A caller that gave up, by a time-out or a closed connection, takes no more room.
        self._waiting = [waiting for waiting in self._waiting if waiting.num_left and not waiting.answer.done()]
        while self._num_free and (num_waiting := self.num_waiting):
            num_batches = min(self._num_free, num_waiting)
            batch = self._take(min(self._batch_size, math.ceil(num_waiting / num_batches)))
            num_lanes = self._num_free // min(self._num_free, num_waiting + self._num_coming)
            self._num_free -= num_lanes
            running = asyncio.create_task(self._run(batch, num_lanes))
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    def _take(self, room: int) -> list[_Part]:
        shares = fair_shares([waiting.num_left for waiting in self._waiting], room=room)
        return [waiting.take(share) for waiting, share in zip(self._waiting, shares, strict=True) if share]

    async def _run(self, batch: Sequence[_Part], num_lanes: int) -> None:
        pictures = [part.pictures for part in batch]
        self._on_batch(sum(map(len, pictures)))
        try:
            features = await self._embed(pictures, num_lanes)
            done = 0
            for part in batch:
                part.waiting.receive(part.start, features[done : done + len(part.pictures)])
                done += len(part.pictures)
        except Exception as error:  # noqa: BLE001 (each caller that waits raises it again)
            for part in batch:
                part.waiting.fail(error)
        finally:
            self._num_free += num_lanes
            self._start()


def fair_shares(wanted: Sequence[int], *, room: int) -> list[int]:
    """Divide ``room`` equally; who wants less than a share leaves the rest to the others, first come, first served."""
    shares = [0] * len(wanted)
    while room and (unmet := [at for at, want in enumerate(wanted) if shares[at] < want]):
        equal = max(1, room // len(unmet))
        for at in unmet:
            more = min(equal, wanted[at] - shares[at], room)
            shares[at] += more
            room -= more
    return shares
