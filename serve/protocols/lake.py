"""What the page shows of a lake: ``/v1/videos``, ``/v1/quarantine`` and ``/v1/report``."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, TypeVar, cast

from fastapi import APIRouter, Depends, Query
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from pipeline.errors import StorageError, UsageError
from pipeline.explore.labels import labels_of, nearest
from pipeline.explore.report.document import read_report
from pipeline.explore.viewing.lake_view import NoSuchVideo, Page
from pipeline.explore.viewing.pictures import MOST_PX, USUAL_PX, NoPicture
from pipeline.explore.viewing.timeline import Timeline, timeline
from serve.inference.lakes import ServedLake
from serve.inference.service import FeatureService
from serve.problems import NotFound, StoreFailed
from serve.protocols.parameters import Admitted
from serve.protocols.search import OPENAPI_QUERY, Engine, query_of
from serve.web.replies import encoded_numbers, json_reply, to_json

router = APIRouter(tags=["lake"])
Result = TypeVar("Result")
_MOST_ROWS = 1000
_MOST_CHARACTERS = 1000
_PICTURE_LASTS_S = 24 * 3600
"""A video's id changes with its content, so its pictures do not."""

Offset = Annotated[int, Query(ge=0, description="How many rows to pass over.")]
Words = Annotated[str, Query(min_length=1, max_length=_MOST_CHARACTERS, description="As of /v1/search.")]
Limit = Annotated[int, Query(ge=1, le=_MOST_ROWS, description="How many rows at most.")]


async def _lake(connection: HTTPConnection) -> ServedLake:
    lake = cast("ServedLake | None", connection.app.state.lake)
    if lake is None:
        raise NotFound("this server has no lake: start it with --lake LAKE")
    return lake


Lake = Annotated[ServedLake, Depends(_lake)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSample:
    """A sample of a video, and how large it is to be shown."""

    epoch: int
    pts: int
    longest_px: int


async def _shown(
    pts: int,
    epoch: Annotated[int, Query(ge=0)] = 0,
    size: Annotated[int, Query(ge=16, le=MOST_PX, description="The longest side, in pixels.")] = USUAL_PX,
) -> ShownSample:
    return ShownSample(epoch=epoch, pts=pts, longest_px=size)


Shown = Annotated[ShownSample, Depends(_shown)]


async def _looked(service: FeatureService, call: Callable[[], Result]) -> Result:
    """What a call finds in the lake, in a thread.

    Raises:
        NotFound: the lake does not hold the video.
        StoreFailed: its store failed.
    """
    try:
        return await service.computed(call)
    except NoSuchVideo as error:
        raise NotFound(str(error)) from None
    except StorageError:
        raise StoreFailed("the lake's store does not answer") from None


@router.get("/v1/videos")
async def videos(service: Admitted, lake: Lake, q: str = "", offset: Offset = 0, limit: Limit = 100) -> Response:
    """The current videos of the lake, by their addresses; ``q``: those in whose address it stands."""
    found = await _looked(service, partial(lake.view.videos, text=q, offset=offset, limit=limit))
    return _page_reply(found)


@router.get("/v1/videos/{video_id}")
async def video(service: Admitted, lake: Lake, video_id: str) -> Response:
    """One video over time: its row of ``videos``, its samples, what is missing of it, and what heads say of it."""
    return await _looked(service, lambda: _timeline_reply(timeline(lake.view, video_id)))


@router.get(
    "/v1/videos/{video_id}/picture",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        204: {"description": "The video has gone, or does not decode there: nothing can be shown."},
    },
)
async def picture(service: Admitted, lake: Lake, video_id: str, shown: Shown) -> Response:
    """A sample as a JPEG: the thumbnail that was kept, or decoded now."""
    try:
        jpeg = await lake.picture(video_id, epoch=shown.epoch, pts=shown.pts, longest_px=shown.longest_px)
    except NoSuchVideo as error:
        raise NotFound(str(error)) from None
    except StorageError:
        raise StoreFailed("a store does not answer") from None
    except NoPicture:
        return Response(status_code=204)
    headers = {"cache-control": f"private, max-age={_PICTURE_LASTS_S}", "x-content-type-options": "nosniff"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)


@router.post("/v1/videos/{video_id}/curve", openapi_extra=OPENAPI_QUERY)
async def curve(request: Request, service: Admitted, lake: Lake, engine: Engine, video_id: str) -> Response:
    """How alike each sample of one video is to what ``/v1/search`` would look for."""
    if not await _looked(service, partial(lake.view.has_video, video_id)):
        raise NotFound("the lake has no such video")
    query = await query_of(request, service, engine)
    found = await engine.computed(lambda: engine.searcher.curve(query, video_id))
    return json_reply(found.to_json())


@router.get("/v1/labels")
async def labels(
    service: Admitted, words: Annotated[str, Query(min_length=1, max_length=_MOST_CHARACTERS)]
) -> Response:
    """Which labels of the model some words mean for ``/v1/search``, and where there are none, which are near."""
    service.require_classes()
    known = service.class_layer.labels
    try:
        meant, near = labels_of(words, known, whose="the model"), []
    except UsageError:
        names = [[name.strip().casefold() for name in label.split(",")] for label in known]
        meant, near = (), nearest(words.casefold(), names)
    first = [label.split(",")[0] for label in known]
    return json_reply({"labels": [first[at] for at in meant], "near": [first[at] for at in near]})


@router.get("/v1/quarantine")
async def quarantine(
    service: Admitted, lake: Lake, reason: str | None = None, offset: Offset = 0, limit: Limit = 100
) -> Response:
    """What failed, and how often for each reason."""
    found = await _looked(service, partial(lake.view.quarantine, reason=reason, offset=offset, limit=limit))
    return _page_reply(found, reasons=await _looked(service, lake.view.reasons))


@router.get("/v1/report")
async def report(service: Admitted, lake: Lake) -> Response:
    """The document of ``vidlake report --json``: what is in the lake, and how its runs went."""
    found = await _looked(service, lambda: read_report(lake.view.uri, now=datetime.now(UTC)).to_json())
    return json_reply(found)


def _page_reply(page: Page, **further: object) -> Response:
    return json_reply({"num_rows": page.num_rows, "rows": page.rows, **further})


def _timeline_reply(found: Timeline) -> Response:
    """Numbers are encoded in pieces: a day at ten samples a second is close to a million of them."""
    document = {
        "video": found.video,
        "samples": {
            "epoch": encoded_numbers(found.epochs),
            "pts": encoded_numbers(found.pts),
            "time_s": encoded_numbers(found.times_s),
        },
        "missing": [asdict(each) for each in found.missing],
        "heads": [
            {
                "head": each.head,
                "labels": each.labels,
                "time_s": encoded_numbers(each.times_s),
                "probabilities": [encoded_numbers(row) for row in each.probabilities],
            }
            for each in found.heads
        ],
    }
    return Response(to_json(document), media_type="application/json")
