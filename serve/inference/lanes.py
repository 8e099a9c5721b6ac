"""The threads that compute with one model: one that uses all cores, or two side by side with half of them each."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.models.embedder import Embedder


class Lanes:
    """Divides the cores among the batches that are computed at the same time.

    There is one lane on a GPU, for a compiled model, and on a single core.
    """

    def __init__(self, load: Callable[[], Embedder]) -> None:
        """Load the model and compute once with it, in a thread for each share of the cores."""
        whole = _Worker(load)
        self.embedder: Embedder = whole.embedder
        """For everything but ``embed``."""
        num_threads = self.embedder.num_threads
        is_divided = self.embedder.device.type == "cpu" and not self.embedder.is_compiled and num_threads > 1
        self.num_lanes: int = 2 if is_divided else 1
        self._idle = {self.num_lanes: [whole]}
        if is_divided:
            half = partial(self.embedder.twin, num_threads=num_threads // 2)
            self._idle[1] = [_Worker(half), _Worker(half)]

    async def embed(self, pictures: Sequence[NDArray[np.uint8]], num_lanes: int) -> NDArray[np.float32]:
        """Do what ``Embedder.embed`` does, in so many of the lanes. The caller asks for no more than are free.

        Raises:
            UsageError: a feature is not finite.
        """
        worker = self._idle[num_lanes].pop()
        try:
            return await worker.embed(pictures)
        finally:
            self._idle[num_lanes].append(worker)

    def close(self) -> None:
        """End the threads when they have finished their batches."""
        for workers in self._idle.values():
            for worker in workers:
                worker.close()


class _Worker:
    """A thread, and the embedder that works in it alone."""

    def __init__(self, load: Callable[[], Embedder]) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self.embedder: Embedder = self._executor.submit(_warmed_up, load).result()

    async def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return await asyncio.get_running_loop().run_in_executor(self._executor, self.embedder.embed, pictures)

    def close(self) -> None:
        self._executor.shutdown(wait=False)


def _warmed_up(load: Callable[[], Embedder]) -> Embedder:
    embedder = load()
    embedder.warm_up()
    return embedder
