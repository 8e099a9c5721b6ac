"""How an actor's process ends for sure: a driver that leaves while Ray's kill is on its way would leave it behind."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, Self

import psutil
import ray
from ray.exceptions import RayActorError, RayError

_ANSWERS_WITHIN_S = 1.0
_GONE_WITHIN_S = 1.0
_LOOK_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlace:
    """Where a process runs, and when it began: numbers of processes are given anew."""

    node_id: str
    pid: int
    began_s: float

    @classmethod
    def of_this(cls) -> Self:
        """The process that asks."""
        process = psutil.Process()
        node_id: str = ray.get_runtime_context().get_node_id()
        return cls(node_id=node_id, pid=process.pid, began_s=process.create_time())

    def process(self) -> psutil.Process | None:
        """The process, if it runs on this node and has not ended."""
        if self.node_id != ray.get_runtime_context().get_node_id():
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if process.create_time() == self.began_s and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


async def end_actor(actor: Any) -> None:
    """Kill an actor; on this node its process is gone when this returns.

    Args:
        actor: the handle; the actor's method ``place`` gives its ``ProcessPlace``.
    """
    place: ProcessPlace | None = None
    try:
        async with asyncio.timeout(_ANSWERS_WITHIN_S):
            place = await actor.place.remote()
    except RayActorError:
        return  # it has ended already
    except (RayError, TimeoutError):
        pass
    with contextlib.suppress(RayError):
        ray.kill(actor)
    waited_s = 0.0
    while place is not None and (process := place.process()) is not None:
        if waited_s > _GONE_WITHIN_S:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            return
        await asyncio.sleep(_LOOK_S)
        waited_s += _LOOK_S
