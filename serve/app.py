"""The Ray Serve application: ``serve deploy serve/config.yaml``, or ``vidlake serve`` on one machine.

What computes is imported where it is used: whoever only builds the application waits for no model library.
"""

import asyncio
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import ray.serve
from numpy.typing import NDArray
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig
from starlette.types import ASGIApp

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.errors import RunError
from serve.problems import RETRY_AFTER_S
from serve.settings import Settings
from serve.web.listening import Address, Listener

if TYPE_CHECKING:
    from serve.cameras.host import CameraHost, ModelFacts

NAME = "vidlake"
# Room for requests that are refused or that ask for health, beside the queue and the sockets.
_RESERVE = 32
_POLL_S = 0.05
# The proxy needs a moment to pass the replica's last bytes on to the client.
_LAST_BYTES_S = 0.5


class _Replica:
    """One process that holds the model."""

    def __init__(self, settings: Settings, cameras: "DeploymentHandle[CameraHost] | None") -> None:
        """Load the model.

        Raises:
            UsageError: the model, its weights or the keys do not fit.
        """
        from serve.cameras.remote import RemoteCameras
        from serve.inference.service import FeatureService
        from serve.metrics import Metrics
        from serve.web.security import ApiKeys

        self._settings = settings
        self._cameras = None if cameras is None else RemoteCameras(cameras)
        self._keys = ApiKeys.read(settings.access)
        self._metrics = Metrics()
        self._service = FeatureService(settings, metrics=self._metrics)

    async def facts(self) -> "ModelFacts":
        """What the host of the streams has to know of the model."""
        from serve.cameras.host import ModelFacts

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

    def _app(self, *, is_behind_proxy: bool) -> ASGIApp:
        from serve.routes import create_app

        return create_app(
            self._service,
            self._settings,
            keys=self._keys,
            metrics=self._metrics,
            cameras=self._cameras,
            is_behind_proxy=is_behind_proxy,
        )


@ray.serve.ingress()
class Replica(_Replica):
    """Answers for the model behind Ray's proxy, beside other replicas."""

    def __init__(self, settings: Settings, cameras: "DeploymentHandle[CameraHost] | None" = None) -> None:
        super().__init__(settings, cameras)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Serve calls this once the replica is constructed."""
        return self._app(is_behind_proxy=True)


class ListeningReplica(_Replica):
    """The only replica on a machine: it listens itself, for a proxy would take from the cores that the model needs."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Settings, address: Address, cameras: "DeploymentHandle[CameraHost] | None" = None
    ) -> None:
        """Load the model, and then listen.

        Raises:
            UsageError: the model, its weights or the keys do not fit.
            RunError: somebody else has the port.
        """
        super().__init__(settings, cameras)
        self._listener = Listener(self._app(is_behind_proxy=False), address)
        await self._listener.start()

    async def check_health(self) -> None:
        """Serve asks again and again, and starts another replica in place of one that is not well.

        Raises:
            RunError: clients are no longer heard.
        """
        if not self._listener.is_listening:
            raise RunError("the replica listens no longer")

    async def __del__(self) -> None:
        """Serve calls this before the process ends; the requests at work are answered by then."""
        if hasattr(self, "_listener"):
            await self._listener.close()


def build(settings: Settings) -> Application:
    """The application, from the ``args`` of Serve's configuration file; it answers behind Ray's proxies."""
    # Who shares a Ray with others says it for its own process alone.
    memory = {} if settings.num_gpus else {"runtime_env": {"env_vars": KEEPING_WHAT_IS_FREED}}
    return cast(Application, _deployment(Replica, settings, **memory).bind(settings, *_cameras(settings)))


def build_listening(settings: Settings, address: Address) -> Application:
    """The application with one replica, which listens at an address of its own machine."""
    return cast(Application, _deployment(ListeningReplica, settings).bind(settings, address, *_cameras(settings)))


def _cameras(settings: Settings) -> tuple[Application, ...]:
    if settings.cameras.lake is None:
        return ()
    from serve.cameras import host

    return (host.deployed(settings, replica=NAME),)


def _deployment(replica: type, settings: Settings, **actor_options: object) -> Any:
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
        ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus, **actor_options},
        logging_config=LoggingConfig(encoding="JSON", enable_access_log=False),
        max_constructor_retry_count=1,
        **scaling,
    )
    return deployed(replica)
