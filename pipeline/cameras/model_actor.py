"""The model of ``watch``, in an actor of its own: batches fill over the pictures of all streams."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from pipeline.cameras.actor_ends import ProcessPlace, end_actor
from pipeline.errors import PipelineError, RunError, UsageError
from pipeline.models.batching import Batcher
from pipeline.records.model_info import ModelInfo, Precision

if TYPE_CHECKING:
    from pipeline.models.embedder import Embedder

_CPU_BATCH = 16
_GPU_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedModel:
    """Which model, and how it computes."""

    name: str
    weights: str
    precision: Precision
    num_threads: int
    has_gpu: bool


class ModelActor:
    """Holds the ``Embedder``. What goes wrong in the beginning is returned: Ray would log what is raised."""

    def __init__(self, model: WatchedModel) -> None:
        """Nothing is loaded yet."""
        self._model = model
        self._thread = ThreadPoolExecutor(1, "model")
        self._batcher: Batcher | None = None
        self._embedder: Embedder | None = None
        self._loading = asyncio.Lock()

    async def load(self) -> ModelInfo | PipelineError:
        """Load the model and have it compute once; returns what it is, or why there is none."""
        async with self._loading:
            if self._embedder is None:
                try:
                    self._embedder = await asyncio.get_running_loop().run_in_executor(self._thread, self._loaded)
                except PipelineError as error:
                    return error
                batch_size = _GPU_BATCH if self._model.has_gpu else _CPU_BATCH
                self._batcher = Batcher(self._embed, batch_size=batch_size)
        return self._embedder.info

    async def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A model input ``uint8[h, w, 3]`` to ``float32[D]``."""
        if self._batcher is None:  # the actor died, and Ray has started it again
            loaded = await self.load()
            if isinstance(loaded, PipelineError):
                raise loaded
        assert self._batcher is not None
        features = await self._batcher.embed(picture[None])
        feature: NDArray[np.float32] = features[0]
        return feature

    async def place(self) -> ProcessPlace:
        """Where this process runs."""
        return ProcessPlace.of_this()

    def _loaded(self) -> "Embedder":
        from pipeline.models.embedder import Embedder
        from pipeline.models.registry import load_model

        model = self._model
        loaded = load_model(model.name, weights=model.weights)
        if loaded.info.preprocessing.window is not None:
            raise UsageError(f"--model {model.name}: takes clips, and a stream is embedded picture by picture")
        embedder = Embedder(
            loaded,
            precision=model.precision,
            batch_size=_GPU_BATCH if model.has_gpu else _CPU_BATCH,
            num_threads=None if model.has_gpu else model.num_threads,
        )
        embedder.warm_up()
        return embedder

    async def _embed(self, pictures: Sequence[NDArray[np.uint8]], _: int) -> NDArray[np.float32]:
        assert self._embedder is not None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._embedder.embed, pictures)


class RemoteModel:
    """The actor from afar: what ``Streams`` calls with each picture. It is pickled into the streams' actors."""

    def __init__(self, model: WatchedModel) -> None:
        """Start it; it is started again where it dies."""
        actor = cast(Any, ray.remote(ModelActor))
        self._actor: Any = actor.options(
            num_cpus=0, num_gpus=1 if model.has_gpu else 0, max_restarts=-1, max_concurrency=1000
        ).remote(model)

    async def load(self) -> ModelInfo:
        """Wait for the model.

        Raises:
            UsageError: there is no such model, or no such weights.
            RunError: its process ended.
        """
        try:
            loaded: ModelInfo | PipelineError = await self._actor.load.remote()
        except RayError:
            raise RunError("the process with the model ended: is there memory for it?") from None
        if isinstance(loaded, PipelineError):
            raise loaded
        return loaded

    async def end(self) -> None:
        """End the process; no stream needs it any more."""
        await end_actor(self._actor)

    async def __call__(self, picture: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """See ``Embed``.

        Raises:
            RunError: there is no answer.
        """
        try:
            feature: NDArray[np.float32] = await self._actor.embed.remote(picture)
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(lines[-1]) from None
        return feature
