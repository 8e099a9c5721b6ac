"""The actor of one stream: its process can hang or die, and no other stream notices."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import ray

from pipeline.cameras.actor_ends import ProcessPlace, end_actor
from pipeline.cameras.analysis.detector import Detector
from pipeline.cameras.hosting.news import News
from pipeline.cameras.hosting.settings import StreamSettings
from pipeline.cameras.hosting.status import StreamStatus
from pipeline.cameras.pulling.source import Source
from pipeline.errors import PipelineError
from pipeline.records.streams import StreamSpec

if TYPE_CHECKING:
    from pipeline.cameras.hosting.stream_host import StreamHost


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOrder:
    """All that the actor of a stream needs to know."""

    spec: StreamSpec
    source: Source
    settings: StreamSettings
    network: Detector | None
    """The detector, where that is a network, which streams share."""


class StreamActor:
    """A stream in a process of its own. What goes wrong is returned: Ray would log what is raised, with a traceback."""

    def __init__(self) -> None:
        """Nothing runs yet: what a stream needs to know comes with ``start``.

        Torch is loaded here, and not with this module: the host of the streams has no use for it.
        """
        from pipeline.models.preprocess import use_one_thread

        use_one_thread()
        self._host: StreamHost | None = None

    async def start(self, order: StreamOrder, died_before: bool) -> PipelineError | None:
        """Begin, perhaps in the place of an actor that died; returns what is in the way, if anything is."""
        from pipeline.cameras.hosting.stream_host import StreamHost

        try:
            self._host = await StreamHost.prepared(order.spec, order.source, order.settings, network=order.network)
            await self._host.start(died_before=died_before)
        except PipelineError as error:
            self._host = None
            return error
        return None

    async def news(self, since: int, timeout_s: float) -> News:
        """See ``StreamHost.news``."""
        return await self._started.news(since, timeout_s=timeout_s)

    async def picture(self, has_boxes: bool) -> bytes | None:
        """See ``StreamHost.picture``."""
        return await self._started.picture(boxes=has_boxes)

    async def stop(self) -> StreamStatus | PipelineError:
        """End the stream; returns how it ended, or what the lake could not take."""
        try:
            return await self._started.stop()
        except PipelineError as error:
            return error

    async def place(self) -> ProcessPlace:
        """Where this process runs."""
        return ProcessPlace.of_this()

    @property
    def _started(self) -> "StreamHost":
        if self._host is None:
            raise RuntimeError("the stream was not started")
        return self._host


class RemoteStream:
    """A stream's actor, started somewhere in the cluster."""

    def __init__(self) -> None:
        """Start the process; it takes no core from the batch jobs that may run beside it."""
        actor = cast(Any, ray.remote(StreamActor))
        self._actor: Any = actor.options(num_cpus=0, max_restarts=0, scheduling_strategy="SPREAD").remote()

    async def start(self, order: StreamOrder, *, died_before: bool = False) -> PipelineError | None:
        """See ``StreamActor``; as all of these, raises ``RayActorError`` where the process or its node has died."""
        failure: PipelineError | None = await self._actor.start.remote(order, died_before)
        return failure

    async def news(self, since: int, *, timeout_s: float) -> News:
        """See ``StreamActor``."""
        news: News = await self._actor.news.remote(since, timeout_s)
        return news

    async def picture(self, *, boxes: bool) -> bytes | None:
        """See ``StreamActor``."""
        picture: bytes | None = await self._actor.picture.remote(boxes)
        return picture

    async def stop(self) -> StreamStatus | PipelineError:
        """See ``StreamActor``."""
        ended: StreamStatus | PipelineError = await self._actor.stop.remote()
        return ended

    async def end(self) -> None:
        """End the process, whatever it is doing; when this returns it is gone, unless it is on a node that is lost."""
        await end_actor(self._actor)
