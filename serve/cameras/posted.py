"""The streams that clients asked for, kept in the cluster's memory: they outlive the process that watches them."""

from typing import Any, Self, cast

import ray

from serve.cameras.requests import StreamRequest

_NAMESPACE = "vidlake"
_ON_THE_HEAD = {"node:__internal_head__": 0.001}
"""Where it is lost with the cluster, and with no other node."""


class _Kept:
    """An actor that remembers requests, credentials included, and writes none of them down."""

    def __init__(self) -> None:
        self._requests: dict[str, StreamRequest] = {}
        self._has_host = False

    def begin(self) -> bool:
        has_host, self._has_host = self._has_host, True
        return has_host

    def end(self) -> None:
        self._has_host = False

    def all(self) -> list[StreamRequest]:
        return list(self._requests.values())

    def add(self, request: StreamRequest) -> None:
        self._requests[request.name] = request

    def remove(self, name: str) -> None:
        self._requests.pop(name, None)


class PostedStreams:
    """What was posted and not deleted since. It lasts as long as the cluster does, whatever is deployed anew."""

    def __init__(self, kept: Any) -> None:
        self._kept = kept

    @classmethod
    def of(cls, application: str) -> Self:
        """Those of an application; blocks until its actor is found or made."""
        actor = cast(Any, ray.remote(_Kept))
        kept = actor.options(
            name=f"streams of {application}",
            namespace=_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources=_ON_THE_HEAD,
            max_restarts=-1,
            max_task_retries=-1,
        )
        return cls(kept.remote())

    async def begin(self) -> bool:
        """A host begins; returns whether there was one before it that did not end in order."""
        return cast(bool, await self._kept.begin.remote())

    async def end(self) -> None:
        """The host has ended in order."""
        await self._kept.end.remote()

    async def all(self) -> list[StreamRequest]:
        """All of them, in the order in which they were posted."""
        return cast("list[StreamRequest]", await self._kept.all.remote())

    async def add(self, request: StreamRequest) -> None:
        """One more is watched."""
        await self._kept.add.remote(request)

    async def remove(self, name: str) -> None:
        """One is watched no more, if it was posted."""
        await self._kept.remove.remote(name)
