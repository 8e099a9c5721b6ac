"""The way of a stream's pictures to the batchers of the replicas."""

import asyncio
from typing import cast

import numpy as np
import ray.serve
from numpy.typing import NDArray
from ray.exceptions import RayActorError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from pipeline.errors import RunError

_ATTEMPTS = 3
_PAUSE_S = 0.2


class ReplicaEmbed:
    """What every stream's actor calls with a picture: batches fill over streams and requests alike.

    It is pickled into the actors, each of which finds the replicas by the deployment's name.
    """

    def __init__(self, *, deployment: str, application: str) -> None:
        self._deployment = deployment
        self._application = application
        self._handle: DeploymentHandle[object] | None = None

    def __getstate__(self) -> dict[str, str]:
        """A handle belongs to the process that it was made in."""
        return {"deployment": self._deployment, "application": self._application}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    async def __call__(self, picture: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """A model input ``uint8[h, w, 3]`` to its feature ``float32[D]``.

        Raises:
            RunError: no replica answers, however often it was tried.
        """
        for attempt in range(_ATTEMPTS):
            try:
                handle = self._handle or await self._found()
                return cast("NDArray[np.float32]", await handle.embed.remote(picture))
            except (RayActorError, RayServeException):  # a replica died, or all of them have more than they can do
                await asyncio.sleep(_PAUSE_S * (attempt + 1))
        raise RunError("no replica of the model answers")

    async def _found(self) -> DeploymentHandle[object]:
        found = await asyncio.to_thread(ray.serve.get_deployment_handle, self._deployment, app_name=self._application)
        self._handle = found
        return found
