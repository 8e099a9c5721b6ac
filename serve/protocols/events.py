"""``/v1/events``: what happens in front of the cameras, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response

from pipeline.records.events import Event, EventType
from serve.protocols.parameters import Listening
from serve.protocols.streams import Streams
from serve.web.middleware import IS_HEAD
from serve.web.replies import to_json

if TYPE_CHECKING:
    from sse_starlette import ServerSentEvent

router = APIRouter(tags=["streams"])
EVENT_STREAM = "text/event-stream"
_PING_S = 15
"""A comment this often tells proxies and clients that the connection lives."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events a client listens to."""

    stream: str | None
    type: EventType | None
    after: str | None


async def _wanted(
    stream: Annotated[str | None, Query(description="Events of this stream alone; it need not run yet.")] = None,
    type: Annotated[EventType | None, Query(description="Events of this type alone.")] = None,
    last_event_id: Annotated[
        str | None, Header(description="Begin with what came after this event; without it, new ones alone.")
    ] = None,
) -> Wanted:
    return Wanted(stream=stream, type=type, after=last_event_id or None)


@router.get(
    "/v1/events",
    response_class=Response,
    responses={200: {"content": {EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def events(
    request: Request, service: Listening, cameras: Streams, wanted: Annotated[Wanted, Depends(_wanted)]
) -> Response:
    """Events as they happen, each with its ``event_id`` as ``id`` and its columns as a JSON document."""
    if request.scope.get(IS_HEAD):
        return Response(media_type=EVENT_STREAM)
    from sse_starlette import EventSourceResponse  # of the extra that cameras need

    happening = await cameras.events(stream=wanted.stream, type=wanted.type, after=wanted.after)
    return EventSourceResponse(_told(until(happening, service.admission.draining)), ping=_PING_S, sep="\n")


async def _told(events: AsyncIterator[Event]) -> AsyncIterator["ServerSentEvent"]:
    from sse_starlette import ServerSentEvent

    async for event in events:
        yield ServerSentEvent(to_json(event.to_json()).decode(), id=event.event_id, sep="\n")


async def until(items: AsyncIterator[Item], stop: asyncio.Event) -> AsyncIterator[Item]:
    """The items that come before ``stop`` is set."""
    stopping = asyncio.create_task(stop.wait())
    coming: asyncio.Future[Item] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(items))
            await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                return
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        stopping.cancel()
        if coming is not None:
            coming.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration):
                await coming
