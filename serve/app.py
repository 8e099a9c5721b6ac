"""The Ray Serve application: ``serve deploy serve/config.yaml``, or ``vidlake serve`` on one machine.

There a single replica listens itself; several stand behind Ray's proxy, which knows which of them is least busy. What
computes is imported where it is used: whoever only builds the application waits for no model library.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import ray.serve
from numpy.typing import NDArray
from ray.serve import Application, RunTarget
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions, ProxyLocation
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus, LoggingConfig
from starlette.types import ASGIApp

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.errors import RunError, UsageError
from serve.problems import RETRY_AFTER_S
from serve.settings import Settings
from serve.web.listening import KEEP_ALIVE_S, Address, Listener

if TYPE_CHECKING:
    from serve.cameras.host import CameraHost, ModelFacts

NAME = "vidlake"
# Room for requests that are refused or that ask for health, beside the queue and the sockets.
_RESERVE = 32
_POLL_S = 0.05
# The proxy needs a moment to pass the replica's last bytes on to the client.
_LAST_BYTES_S = 0.5
_GRACE_S = 10.0
_STATUS_S = 0.1


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


class Deployed:
    """The application while it answers."""

    def __init__(self, handle: DeploymentHandle[object], settings: Settings) -> None:
        self._handle = handle
        self._settings = settings

    def finish(self) -> None:
        """Let the requests at work be answered, and meanwhile stop the streams: the replicas still embed for them."""
        timeout_s = self._settings.limits.max_seconds + _GRACE_S
        drained = self._handle.broadcast("drain")
        if self._settings.cameras.lake is not None:
            from serve.cameras.host import NAME as CAMERAS

            cameras: DeploymentHandle[CameraHost] = ray.serve.get_deployment_handle(CAMERAS, app_name=NAME)
            cameras.close.remote().result(timeout_s=timeout_s)
        drained.results(timeout_s=timeout_s)


@contextlib.contextmanager
def deployed(settings: Settings, address: Address) -> Iterator[Deployed]:
    """Answer requests at an address until the caller has had enough.

    Raises:
        UsageError: the settings do not fit.
        RunError: the server does not start.
    """
    handle = _behind_proxy(settings, address) if settings.replicas.max > 1 else _listening(settings, address)
    try:
        yield Deployed(handle, settings)
    finally:
        ray.serve.shutdown()  # type: ignore[no-untyped-call]


def _listening(settings: Settings, address: Address) -> DeploymentHandle[object]:
    ray.serve.start(proxy_location=ProxyLocation.Disabled)
    application = RunTarget(build_listening(settings, address), name=NAME, route_prefix=None)
    # Serve itself would look once a second whether it runs.
    [handle] = ray.serve.run_many([application], wait_for_applications_running=False)
    while (status := ray.serve.status().applications[NAME].status) != ApplicationStatus.RUNNING:
        if status == ApplicationStatus.DEPLOY_FAILED:
            raise _cause()
        time.sleep(_STATUS_S)
    return handle


def _behind_proxy(settings: Settings, address: Address) -> DeploymentHandle[object]:
    options = HTTPOptions(host=address.host, port=address.port, keep_alive_timeout_s=KEEP_ALIVE_S)
    ray.serve.start(http_options=options)
    try:
        return ray.serve.run(build(settings), name=NAME, route_prefix="/")
    except RuntimeError:
        raise _cause() from None


def _cause() -> UsageError | RunError:
    """Why the application does not run."""
    deployments = ray.serve.status().applications[NAME].deployments.values()
    message = "\n".join(deployment.message for deployment in deployments)
    # A deployment's message ends with what its constructor raised.
    causes = re.findall(r"pipeline\.errors\.(\w+): (.*)", message)
    if not causes:
        return RunError(f"the server does not start: {message.strip().splitlines()[-1]}")
    kind, message = causes[-1]
    return (UsageError if kind == "UsageError" else RunError)(message)
