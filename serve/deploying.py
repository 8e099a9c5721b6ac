"""The application on the Ray of ``vidlake serve``: deployed, drained and taken down.

A single replica listens itself. Several stand behind Ray's proxy, which knows which of them is least busy.
"""

import contextlib
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import ray.serve
from ray.serve import RunTarget
from ray.serve.config import HTTPOptions, ProxyLocation
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from pipeline.errors import RunError, UsageError
from serve.app import NAME, build, build_listening
from serve.settings import Settings
from serve.web.listening import KEEP_ALIVE_S, Address

if TYPE_CHECKING:
    from serve.cameras.host import CameraHost

_GRACE_S = 10.0
_POLL_S = 0.1


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
        if status in (ApplicationStatus.DEPLOY_FAILED, ApplicationStatus.UNHEALTHY):
            raise _cause()
        time.sleep(_POLL_S)
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
