"""A detecting network in an actor of its own: the streams of a host share it, and look at pictures together."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import ray
from ray.exceptions import RayError
from typing_extensions import override

from pipeline.cameras.actor_ends import ProcessPlace, end_actor
from pipeline.cameras.analysis.choice import DetectorChoice
from pipeline.cameras.analysis.detector import DetectionFailed, Detector, Pixels
from pipeline.errors import PipelineError, RunError
from pipeline.records.geometry import Detection


class DetectorActor:
    """Holds the network. What goes wrong in the beginning is returned: Ray would log what is raised."""

    def __init__(self, detect: str, weights: str) -> None:
        """Nothing is loaded yet."""
        self._detect = detect
        self._weights = weights
        self._detector: Detector | None = None
        self._loading = asyncio.Lock()

    async def load(self) -> PipelineError | None:
        """Load the network, once; returns why there is none."""
        async with self._loading:
            if self._detector is None:
                try:
                    choice = DetectorChoice.parse(self._detect)
                    self._detector = await asyncio.to_thread(choice.open, weights=self._weights)
                except PipelineError as error:
                    return error
        return None

    async def detect(self, picture: Pixels) -> Sequence[Detection] | DetectionFailed:
        """The objects in a picture ``uint8[H, W, 3]``, or why nobody knows."""
        failure = await self.load()  # the actor may have died, and Ray has started it again
        if failure is not None or self._detector is None:
            return DetectionFailed(str(failure))
        try:
            return await self._detector.detect(picture)
        except DetectionFailed as error:
            return error

    async def place(self) -> ProcessPlace:
        """Where this process runs."""
        return ProcessPlace.of_this()


class RemoteDetector(Detector):
    """The actor from afar. It is pickled into the streams' actors."""

    def __init__(self, detect: str, *, weights: str, has_gpu: bool) -> None:
        """Start it; it is started again where it dies."""
        actor = cast(Any, ray.remote(DetectorActor))
        self._actor: Any = actor.options(
            num_cpus=0, num_gpus=0.5 if has_gpu else 0, max_restarts=-1, max_concurrency=1000
        ).remote(detect, weights)

    async def load(self) -> None:
        """Wait for the network.

        Raises:
            UsageError: there is no such network, or its weights do not fit.
            WeightsError: they could not be downloaded.
            RunError: its process ended.
        """
        try:
            failure: PipelineError | None = await self._actor.load.remote()
        except RayError:
            raise RunError("the process with the detector ended: is there memory for it?") from None
        if failure is not None:
            raise failure

    @override
    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        try:
            found: Sequence[Detection] | DetectionFailed = await self._actor.detect.remote(picture)
        except RayError as error:
            raise DetectionFailed(f"the process with the detector gave no answer: {type(error).__name__}") from None
        if isinstance(found, DetectionFailed):
            raise found
        return found

    @override
    async def close(self) -> None:
        """Nothing: other streams go on with it."""

    async def end(self) -> None:
        """End the process; no stream needs it any more."""
        await end_actor(self._actor)
