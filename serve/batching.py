"""Filling the model's batches with what waits, whoever sent it."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Features = NDArray[np.float32]


@dataclass(slots=True)
class _Waiting:
    """One caller's pictures, of which a batch may take some and the next the rest."""

    pictures: Pictures
    answer: asyncio.Future[Features]
    num_done: int = 0
    parts: list[Features] = field(default_factory=list)

    @property
    def num_left(self) -> int:
        return len(self.pictures) - self.num_done

    def take(self, count: int) -> Pictures:
        part = self.pictures[self.num_done : self.num_done + count]
        self.num_done += count
        return part


class Batcher:
    """Keeps one model busy.

    An idle model starts at once. While it is busy callers wait, and the next batch takes all that wait, up to
    ``batch_size``; beyond that everybody gets a fair share of it, so that one long video does not starve the stills.
    (``ray.serve.batch`` would form new, small batches while the model is busy.)
    """

    def __init__(
        self,
        embed: Callable[[Sequence[Pictures]], Features],
        *,
        batch_size: int,
        executor: Executor,
        on_batch: Callable[[int], None] = lambda num_pictures: None,
    ) -> None:
        """Feed ``embed``, which runs in ``executor``; ``on_batch`` hears how full each batch was."""
        self._embed = embed
        self._batch_size = batch_size
        self._executor = executor
        self._on_batch = on_batch
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    @property
    def num_waiting(self) -> int:
        """Pictures that no batch has taken yet."""
        return sum(waiting.num_left for waiting in self._waiting)

    async def embed(self, pictures: Pictures) -> Features:
        """Turn model inputs ``uint8[T, H, W, 3]`` into features ``float32[T, D]``.

        Raises:
            UsageError: a feature is not finite.
        """
        waiting = _Waiting(pictures, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await waiting.answer

    async def _work(self) -> None:
        try:
            while batch := self._next_batch():
                parts = [part for _, part in batch]
                self._on_batch(sum(map(len, parts)))
                loop = asyncio.get_running_loop()
                try:
                    features = await loop.run_in_executor(self._executor, self._embed, parts)
                except Exception as error:  # noqa: BLE001 (raised again by whoever waits for it)
                    _fail(error, [waiting for waiting, _ in batch])
                    continue
                done = 0
                for waiting, part in batch:
                    waiting.parts.append(features[done : done + len(part)])
                    done += len(part)
                    _answer(waiting)
        finally:
            self._worker = None

    def _next_batch(self) -> list[tuple[_Waiting, Pictures]]:
        # Whoever gave up, by a time-out or a closed connection, takes no more room.
        self._waiting = [waiting for waiting in self._waiting if waiting.num_left and not waiting.answer.done()]
        shares = fair_shares([waiting.num_left for waiting in self._waiting], room=self._batch_size)
        return [(waiting, waiting.take(share)) for waiting, share in zip(self._waiting, shares, strict=True) if share]


def fair_shares(wanted: Sequence[int], *, room: int) -> list[int]:
    """Divide ``room`` so that nobody gets less than an equal share but whoever wants less; first come, first served."""
    shares = [0] * len(wanted)
    while room and (unmet := [at for at, want in enumerate(wanted) if shares[at] < want]):
        equal = max(1, room // len(unmet))
        for at in unmet:
            more = min(equal, wanted[at] - shares[at], room)
            shares[at] += more
            room -= more
    return shares


def _answer(waiting: _Waiting) -> None:
    if not waiting.num_left and not waiting.answer.done():
        whole = waiting.parts[0] if len(waiting.parts) == 1 else np.concatenate(waiting.parts)
        waiting.answer.set_result(whole)


def _fail(error: Exception, batch: Sequence[_Waiting]) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
