"""The Ray Serve application: ``serve deploy serve/config.yaml``, or ``vidlake serve`` on one machine."""

import asyncio
from typing import cast

import numpy as np
import ray.serve
from numpy.typing import NDArray
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp

from serve.cameras import host
from serve.cameras.host import CameraHost, ModelFacts
from serve.cameras.remote import RemoteCameras
from serve.inference.service import FeatureService
from serve.metrics import Metrics
from serve.problems import RETRY_AFTER_S
from serve.routes import create_app
from serve.settings import Settings
from serve.web.security import ApiKeys

NAME = "vidlake"
# Room for requests that are refused or that ask for health, beside the queue and the sockets.
_RESERVE = 32
_POLL_S = 0.05
# The proxy needs a moment to pass the replica's last bytes on to the client.
_LAST_BYTES_S = 0.5


@ray.serve.ingress()
class Replica:
    """One process that holds the model, and answers for it."""

    def __init__(self, settings: Settings, cameras: DeploymentHandle[CameraHost] | None = None) -> None:
        """Load the model.

        Raises:
            UsageError: the model, its weights or the keys do not fit.
        """
        self._settings = settings
        self._cameras = None if cameras is None else RemoteCameras(cameras)
        self._keys = ApiKeys.read(settings.access)
        self._metrics = Metrics()
        self._service = FeatureService(settings, metrics=self._metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve calls this once the replica is constructed."""
        return create_app(self._service, self._settings, keys=self._keys, metrics=self._metrics, cameras=self._cameras)

    async def facts(self) -> ModelFacts:
        """What the host of the streams has to know of the model."""
        return ModelFacts(info=self._service.info, precision=self._service.precision)

    async def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """A model input ``uint8[h, w, 3]`` of a stream to its feature ``float32[D]``, in a batch with all others."""
        features = await self._service.prepared(picture[None])
        return cast("NDArray[np.float32]", features[0])

    async def drain(self) -> None:
        """Take no more requests and turn unready; return once those at work are answered."""
        self._service.admission.draining.set()
        while not self._service.admission.is_idle:
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(_LAST_BYTES_S)


def build(settings: Settings) -> Application:
    """The application, from the ``args`` of Serve's configuration file."""
    limits, replicas = settings.limits, settings.replicas
    scaling = (
        {"num_replicas": replicas.min}
        if replicas.min == replicas.max
        else {
            "autoscaling_config": AutoscalingConfig(
                min_replicas=replicas.min,
                max_replicas=replicas.max,
                target_ongoing_requests=max(1, limits.queue // 4),
            )
        }
    )
    deployed = ray.serve.deployment(
        name=NAME,
        # Serve counts every open socket as a request. The replica itself limits what enters the model's queue.
        max_ongoing_requests=limits.queue + limits.sockets + _RESERVE,
        max_queued_requests=limits.queue,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
        graceful_shutdown_timeout_s=limits.max_seconds + 5,
        graceful_shutdown_wait_loop_s=0.5,
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        logging_config=LoggingConfig(encoding="JSON", enable_access_log=False),
        max_constructor_retry_count=1,
        **scaling,
    )
    if settings.cameras.lake is None:
        return deployed(Replica).bind(settings)
    return deployed(Replica).bind(settings, host.deployed(settings, replica=NAME))
