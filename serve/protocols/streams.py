"""``/v1/streams``: the live streams, their pictures, and who may start and stop them."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection
from starlette.responses import Response

from pipeline.records.streams import MotionLevel, StreamState
from serve.cameras.remote import Cameras
from serve.cameras.requests import StreamRequest
from serve.problems import Forbidden, NotFound
from serve.protocols.parameters import Admin, Admitted
from serve.web.replies import json_reply

router = APIRouter(tags=["streams"])
_JPEG = "image/jpeg"
_NO_LAKE = "this server watches no streams: start it with --out LAKE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What has come in since the stream was started. None falls but ``lag_s``."""

    pictures: int
    samples: int
    dropped: int
    gated: int
    gaps: int
    """Slots that stand in the ledger, whatever the reason."""
    sessions: int
    reconnects: int
    events: int
    lag_s: float
    """From the arrival of the newest sample that has become a row until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStream:
    """One stream. Its source is shown without a user, a password or a query."""

    name: str
    state: StreamState
    since: str
    reason: str
    source: str
    sample: str
    motion: MotionLevel
    detect: str
    lines: list[str]
    zones: list[str]
    head: str | None
    record: str | None
    session: str | None
    """The ``video_id`` of what comes in now."""
    counters: Counters
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStreams:
    """All streams of the server."""

    streams: list[ListedStream]


async def _known_cameras(connection: HTTPConnection) -> Cameras | None:
    return cast("Cameras | None", connection.app.state.cameras)


async def cameras_of(cameras: Annotated[Cameras | None, Depends(_known_cameras)]) -> Cameras:
    """The streams of the server.

    Raises:
        NotFound: it has no lake to watch streams for.
    """
    if cameras is None:
        raise NotFound(_NO_LAKE)
    return cameras


async def _cameras_for_more(cameras: Annotated[Cameras | None, Depends(_known_cameras)]) -> Cameras:
    if cameras is None:
        raise Forbidden(_NO_LAKE)
    return cameras


Streams = Annotated[Cameras, Depends(cameras_of)]
"""The streams; without a lake, every name is unknown."""


@router.get("/v1/streams", response_model=ListedStreams)
async def streams(cameras: Annotated[Cameras | None, Depends(_known_cameras)]) -> Response:
    """All streams with their states and counters; none where none run."""
    statuses = [] if cameras is None else await cameras.statuses()
    return json_reply({"streams": [status.to_json() for status in statuses]})


@router.post("/v1/streams", response_model=ListedStream, status_code=201, dependencies=[Admin])
async def start(
    service: Admitted, cameras: Annotated[Cameras, Depends(_cameras_for_more)], stream: StreamRequest
) -> Response:
    """Begin to watch a stream, whether or not its camera answers yet.

    It needs an admin key. What the stream may reach is what ``--allow-source`` admits: anything else is 403. A name
    that is taken, or another sampling rule than the lake's, is 409.
    """
    reply = json_reply((await cameras.start(stream)).to_json(), status=201)
    reply.headers["location"] = f"/v1/streams/{stream.name}"
    return reply


@router.get("/v1/streams/{name}", response_model=ListedStream)
async def stream(cameras: Streams, name: str) -> Response:
    """One stream."""
    return json_reply((await cameras.status(name)).to_json())


@router.delete("/v1/streams/{name}", response_model=ListedStream, dependencies=[Admin])
async def stop(cameras: Streams, name: str) -> Response:
    """Stop a stream, and answer once all that came in is committed; then the name is free.

    It needs an admin key.
    """
    return json_reply((await cameras.stop(name)).to_json())


@router.get(
    "/v1/streams/{name}/picture",
    response_class=Response,
    responses={200: {"content": {_JPEG: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def picture(service: Admitted, cameras: Streams, name: str, boxes: bool = False) -> Response:
    """The newest picture as a JPEG; with ``boxes=1``, the tracked objects' boxes are drawn."""
    data = await cameras.picture(name, boxes=boxes)
    return Response(data, media_type=_JPEG, headers={"cache-control": "no-store"})
