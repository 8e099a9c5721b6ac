"""Several threads over the same weights, of which each computes a batch by itself, with threads of torch of its own."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from pipeline.models.embedder import Embedder, batch_lengths, batches_of
from pipeline.records.model_info import ModelInfo


class EmbedderPool:
    """As many batches at once as there are workers, of one call or of several that are made at once."""

    def __init__(self, embedder: Embedder, *, num_workers: int) -> None:
        """Put twins of the embedder to work; a single worker is the thread that calls, with the embedder itself."""
        self.info: ModelInfo = embedder.info
        self._embedder = embedder
        self._num_workers = num_workers
        self._of_thread = threading.local()
        self._workers = ThreadPoolExecutor(num_workers, initializer=self._begin) if num_workers > 1 else None

    def embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """As ``Embedder.embed``."""
        lengths = list(batch_lengths(sum(map(len, pictures)), shapes=self._embedder.batch_shapes))
        if self._workers is None or not lengths:
            return self._embedder.embed(pictures)
        return np.concatenate(list(self._workers.map(self._embed, batches_of(pictures, lengths=iter(lengths)))))

    def seconds_per_sample(self, *, batches_each: int = 2) -> float:
        """Measure the model on this machine, once warm, with all workers busy; of a model of clips, for a clip."""
        num_rows = self._embedder.batch_shapes[-1] * self._num_workers
        batches = [np.zeros((num_rows, *self.info.preprocessing.input_shape), np.uint8)] * batches_each
        self.embed(batches[:1])
        began = time.monotonic()
        self.embed(batches)
        return (time.monotonic() - began) / (batches_each * num_rows)

    def _begin(self) -> None:
        self._of_thread.twin = self._embedder.twin(num_threads=self._embedder.num_threads)

    def _embed(self, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        twin: Embedder = self._of_thread.twin
        return twin.embed(pictures)
