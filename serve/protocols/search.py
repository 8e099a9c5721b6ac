"""``/v1/search``: what in the lake is like a picture, a video or a moment of it, or is called by some words."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import HTTPConnection
from starlette.responses import Response

from pipeline.errors import UsageError
from pipeline.explore import queries
from pipeline.explore.head_labels import head_labels
from pipeline.explore.labels import LabelScorer, labels_of
from pipeline.explore.queries import MOST_TOP, LabelQuery, SampleQuery, Scope, SequenceQuery, VectorQuery, query_rule
from pipeline.records.periods import Period
from serve.inference.lake_search import LakeSearch
from serve.inference.service import FeatureService
from serve.inference.stills import is_still
from serve.problems import NotFound, Problem
from serve.protocols.parameters import Admitted
from serve.web.bodies import OPENAPI_BODY, content_type, posted
from serve.web.replies import JSON, json_reply

router = APIRouter(tags=["search"])
_MOST_COLUMNS = 32
_MOST_CHARACTERS = 1000

Text = Annotated[str, Field(min_length=1, max_length=_MOST_CHARACTERS)]


class SearchBody(BaseModel):
    """A question without a picture: ``words`` or ``at``, and where to look."""

    model_config = ConfigDict(extra="forbid", strict=True)

    words: Text | None = None
    """What the model's classification layer calls so, or with ``head`` a head."""
    at: Text | None = None
    """A moment of the lake, URI@SECONDS: what is like it."""
    head: Text | None = None
    """A trained head of this server."""
    where: dict[str, str | int | float | bool | None] = Field(default_factory=dict, max_length=_MOST_COLUMNS)
    """Columns of ``videos``, and the value that each must have."""
    since: Text | None = None
    until: Text | None = None
    top: int = Field(default=10, ge=1, le=MOST_TOP)
    rows: bool = False
    """Rows, and not moments."""
    exact: bool = False
    """Compare with every row, even where there is an index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRow:
    """One sample: its score is the cosine or, by words, the probability."""

    uri: str
    video_id: str
    epoch: int
    pts: int
    time_s: float
    score: float
    same_picture: bool
    captured_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMoment:
    """Rows of one video that lie together; ``epoch``, ``pts`` and ``captured_at`` are those of the best one."""

    uri: str
    video_id: str
    start_s: float
    end_s: float
    best_s: float
    epoch: int
    pts: int
    score: float
    same_picture: bool
    captured_at: str | None
    offset_s: float | None = None
    """Of a video that is looked for: where in it the stretch begins."""
    matched_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found, and how many rows of the lake were looked up by the index, compared, and are absent."""

    indexed: int
    scanned: int
    absent: int
    moments: list[FoundMoment] | None = None
    rows: list[FoundRow] | None = None
    labels: list[str] | None = None
    """By words: the labels that they were taken for."""


async def lake_search_of(connection: HTTPConnection) -> LakeSearch:
    """The search engine of the server's lake.

    Raises:
        NotFound: the server has none.
    """
    search = cast("LakeSearch | None", connection.app.state.search)
    if search is None:
        raise NotFound("this server has no lake: start it with --lake LAKE")
    return search


Engine = Annotated[LakeSearch, Depends(lake_search_of)]

_BODY = cast("dict[str, dict[str, object]]", OPENAPI_BODY)["requestBody"]
OPENAPI_QUERY: dict[str, object] = {
    "requestBody": {
        **_BODY,
        "description": "A picture, a video, a form with one of them as `file`, or JSON.",
        "content": {**cast("dict[str, object]", _BODY["content"]), JSON: {"schema": SearchBody.model_json_schema()}},
    }
}


@router.post("/v1/search", response_model=Found, openapi_extra=OPENAPI_QUERY)
async def search(
    request: Request,
    service: Admitted,
    engine: Engine,
    *,
    top: Annotated[int, Query(ge=1, le=MOST_TOP, description="Of a picture or video: how many moments.")] = 10,
    rows: Annotated[bool, Query(description="Of a picture: rows, and not moments.")] = False,
    since: Annotated[str | None, Query(description="Of a picture or video: what was captured from then on.")] = None,
    until: Annotated[str | None, Query(description="Of a picture or video: what was captured before.")] = None,
) -> Response:
    """The moments of the lake that are like a picture or a moment, in which a video occurs, or that are called so."""
    if content_type(request) == JSON:
        body = _parsed(await request.body())
        query: queries.Query = await service.computed(partial(_asked, body, service))
    else:
        body = SearchBody(top=top, rows=rows, since=since, until=until)
        query = await _shown(request, service, engine)
    try:
        scope = Scope(equal=body.where, period=Period.parse(body.since, body.until))
    except UsageError as error:
        raise Problem(str(error)) from None
    answer = await engine.search(query, scope=scope, top=body.top, by_rows=body.rows, exact=body.exact)
    return json_reply(answer.to_json())


async def query_of(request: Request, service: FeatureService, engine: LakeSearch) -> queries.Query:
    """What a request asks for, wherever it is to be looked for.

    Raises:
        Problem: it does not say, or the body does not decode.
    """
    if content_type(request) == JSON:
        return await service.computed(partial(_asked, _parsed(await request.body()), service))
    return await _shown(request, service, engine)


def _parsed(data: bytes) -> SearchBody:
    try:
        return SearchBody.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the body"
        raise Problem(f"{name}: {first['msg']}") from None


def _asked(body: SearchBody, service: FeatureService) -> queries.Query:
    if (body.words is None) == (body.at is None):
        raise Problem("ask by one of words and at, or send a picture")
    if body.head is not None and body.words is None:
        raise Problem("head says whose labels words means: give words too")
    try:
        if body.at is not None:
            return SampleQuery.parse(body.at)
        vector = service.embed_text(str(body.words)) if body.head is None else None
        if vector is not None:
            return VectorQuery(vector=vector)
        scorer, whose = _scorer(body.head, service)
        return LabelQuery(scorer=scorer, columns=labels_of(str(body.words), scorer.labels, whose=whose))
    except UsageError as error:
        raise Problem(str(error)) from None


def _scorer(head: str | None, service: FeatureService) -> tuple[LabelScorer, str]:
    if head is not None:
        served = service.heads.head(head)
        return head_labels(served.head, name=f"{served.name}@{served.version}"), f"head {served.name}"
    service.require_classes()
    return service.class_layer, f"model {service.info.name}"


async def _shown(request: Request, service: FeatureService, engine: LakeSearch) -> queries.Query:
    async with posted(request) as body:
        if is_still(body.head):
            return VectorQuery(vector=(await service.still(await body.read()))[0])
        config = engine.searcher.info.config
        rule = query_rule(config.sample, is_of_clips=config.windows is not None)
        moments = await service.video(body.file, size_bytes=body.size_bytes, rule=rule)
    times_s = np.array([mark.time_s for mark in moments.marks])
    if not len(times_s):
        raise Problem("the video has no samples")
    end_s = max(moments.end_s or 0.0, float(times_s[-1]))
    return SequenceQuery(times_s=times_s, vectors=moments.features, end_s=end_s)
