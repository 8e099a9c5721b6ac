"""How a replica reaches the host of the streams, wherever in the cluster it is."""

from collections.abc import AsyncIterator, Awaitable
from typing import Protocol, TypeVar, cast

from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from typing_extensions import override

from pipeline.cameras.hosting.status import StreamStatus
from pipeline.records.events import Event, EventType
from serve.cameras.host import CameraHost
from serve.cameras.requests import StreamRequest
from serve.problems import Busy, Problem

Answer = TypeVar("Answer")


class Cameras(Protocol):
    """The streams, as the routes ask for them. Every method may raise a ``Problem``."""

    async def start(self, request: StreamRequest) -> StreamStatus:
        """Start a stream that a client asks for, if what it reaches is allowed."""
        ...

    async def stop(self, name: str) -> StreamStatus:
        """Stop a stream; its rows are committed when this returns."""
        ...

    async def statuses(self) -> list[StreamStatus]:
        """All streams."""
        ...

    async def status(self, name: str) -> StreamStatus:
        """One stream."""
        ...

    async def picture(self, name: str, *, boxes: bool) -> bytes:
        """The newest picture of a stream, as a JPEG."""
        ...

    async def events(self, *, stream: str | None, type: EventType | None, after: str | None) -> AsyncIterator[Event]:
        """What happens from when this returns, until the caller stops listening or the host goes."""
        ...


class RemoteCameras(Cameras):
    """The streams of the deployment."""

    def __init__(self, host: DeploymentHandle[CameraHost]) -> None:
        self._host = host

    @override
    async def start(self, request: StreamRequest) -> StreamStatus:
        return await _answer(self._host.start.remote(request))

    @override
    async def stop(self, name: str) -> StreamStatus:
        return await _answer(self._host.stop.remote(name))

    @override
    async def statuses(self) -> list[StreamStatus]:
        return await _answer(self._host.statuses.remote())

    @override
    async def status(self, name: str) -> StreamStatus:
        return await _answer(self._host.status.remote(name))

    @override
    async def picture(self, name: str, *, boxes: bool) -> bytes:
        return await _answer(self._host.picture.remote(name, boxes=boxes))

    @override
    async def events(self, *, stream: str | None, type: EventType | None, after: str | None) -> AsyncIterator[Event]:
        listening = self._host.options(stream=True).events
        told = cast(
            "DeploymentResponseGenerator[Event | None]", listening.remote(stream=stream, type=type, after=after)
        )
        events = _events_of(told)
        await _answer(anext(events))
        return cast("AsyncIterator[Event]", events)


async def _events_of(told: DeploymentResponseGenerator[Event | None]) -> AsyncIterator[Event | None]:
    try:
        async for event in told:
            yield event
    except (RayActorError, RayServeException, TaskCancelledError):
        return  # the client connects again, and says which event was its last
    finally:
        told.cancel()  # type: ignore[no-untyped-call]


async def _answer(call: Awaitable[Answer | Problem]) -> Answer:
    try:
        answer = await call
    except (RayActorError, RayServeException):
        raise Busy("the host of the streams is starting again") from None
    if isinstance(answer, Problem):
        raise answer
    return answer
