"""The way of one stream's samples to the model: it never makes the camera wait, and answers come in order."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.hosting.newest_wins import NewestWins
from pipeline.cameras.hosting.settings import Embed
from pipeline.errors import PipelineError

_IN_FLIGHT = 4
"""Samples of one stream that the model is asked for at once: enough to fill a batch, and soon answered."""
_PATIENCE_S = 60.0
"""An answer that takes longer is none: the process with the model has died or hangs."""

Sample = TypeVar("Sample")


class ModelQueue(Generic[Sample]):
    """Samples wait here for the model, newest wins; what it says of them is told in the order of the samples."""

    def __init__(
        self,
        embed: Embed,
        *,
        capacity: int,
        on_feature: Callable[[Sample, NDArray[np.float32]], None],
        on_dropped: Callable[[Sample, str | None], None],
    ) -> None:
        """Nothing waits yet.

        Args:
            embed: the model.
            capacity: how many samples may wait.
            on_feature: is told a sample and its feature ``float32[D]``.
            on_dropped: is told a sample that gets none, and what went wrong; ``None``: newer ones came.
        """
        self._embed = embed
        self._waiting: NewestWins[tuple[Sample, NDArray[np.uint8]]] = NewestWins(capacity=capacity)
        self._on_feature = on_feature
        self._on_dropped = on_dropped
        self._asked: deque[tuple[Sample, asyncio.Task[NDArray[np.float32]]]] = deque()

    def put(self, sample: Sample, prepared: NDArray[np.uint8]) -> None:
        """Take a sample and its model input ``uint8[h, w, 3]``."""
        dropped = self._waiting.put((sample, prepared))
        if dropped is not None:
            self._on_dropped(dropped[0], None)
        self._ask()

    def close(self) -> None:
        """Nobody waits for answers any more."""
        self._waiting.clear()
        for _, task in self._asked:
            task.cancel()
        self._asked.clear()

    def _ask(self) -> None:
        while len(self._asked) < _IN_FLIGHT and (waiting := self._waiting.take()) is not None:
            sample, prepared = waiting
            task = asyncio.ensure_future(self._answer(prepared))
            self._asked.append((sample, task))
            task.add_done_callback(self._answered)

    async def _answer(self, prepared: NDArray[np.uint8]) -> NDArray[np.float32]:
        async with asyncio.timeout(_PATIENCE_S):
            return await self._embed(prepared)

    def _answered(self, _: asyncio.Task[NDArray[np.float32]]) -> None:
        while self._asked and self._asked[0][1].done():
            sample, task = self._asked.popleft()
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                self._on_feature(sample, task.result())
            else:
                self._on_dropped(sample, _what_of(error))
        self._ask()


def _what_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"the model gave no answer in {_PATIENCE_S:.0f} s"
    # Ray's own errors hold a traceback of many lines, and whatever was raised far away.
    text = str(error) if isinstance(error, PipelineError) else type(error).__name__
    return f"the model gave no answer: {text}"
