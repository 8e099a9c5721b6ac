"""``/v1/embed`` and ``/v1/classify``: a picture or a video in, its features or labels out."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import pyarrow as pa
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import GetPydanticSchema
from starlette.responses import Response

from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import FrameMark, Quarantined
from serve.inference.head_answers import require_pictures
from serve.inference.head_folder import ServedHead
from serve.inference.labels import Label, Ranking
from serve.inference.service import FeatureService, Moments
from serve.inference.stills import is_still
from serve.protocols.answers import Missing, label_column, time_columns
from serve.protocols.parameters import DEFAULT_RULE, Admitted, GivenRule, NamedHead, Rule, Top
from serve.protocols.units import ClassifiedUnits, units_reply
from serve.web.bodies import OPENAPI_BODY, posted
from serve.web.replies import ARROW, arrow_reply, encoded_apart, json_reply, wants_arrow

router = APIRouter(tags=["features"])
_FEW = 4
"""Samples that take a few milliseconds to encode, even with a thousand labels each."""
_A_STILL = (FrameMark(epoch=0, pts=0, time_s=0.0, is_keyframe=True, is_corrupt=False),)

Vector = Annotated[NDArray[np.float32], GetPydanticSchema(lambda _, handler: handler(list[float]))]
"""An array here, a list of numbers in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedSample:
    """One frame: seconds from the first one, ``pts`` in the stream's time base, and its feature."""

    time_s: float
    pts: int
    feature: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedClip(EmbeddedSample):
    """A window of frames by its first one, its last one, how many it really has, and its feature."""

    end_time_s: float
    end_pts: int
    num_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifiedSample:
    """One frame and its most probable classes."""

    time_s: float
    pts: int
    labels: list[Label]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The answer of ``/v1/embed``."""

    model: str
    fingerprint: str
    samples: list[EmbeddedSample | EmbeddedClip]
    missing: list[Missing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """The answer of ``/v1/classify``."""

    model: str
    fingerprint: str
    samples: list[ClassifiedSample]
    missing: list[Missing]


_ARROW_TOO: dict[int | str, dict[str, object]] = {
    200: {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post("/v1/embed", response_model=Embedded, responses=_ARROW_TOO, openapi_extra=OPENAPI_BODY)
async def embed(request: Request, rule: Rule, service: Admitted) -> Response:
    """The features of a picture, or of a video's samples."""
    moments = await _moments(request, rule, service)
    reply = _arrow_of_features if wants_arrow(request) else _json_of_features
    return await _off_the_loop(partial(reply, moments, service), moments)


@router.post(
    "/v1/classify", response_model=Classified | ClassifiedUnits, responses=_ARROW_TOO, openapi_extra=OPENAPI_BODY
)
async def classify(request: Request, rule: GivenRule, service: Admitted, head: NamedHead, top: Top = 5) -> Response:
    """The most probable classes of a picture or of each of a video's samples, or a head's labels of each of its units.

    Without `sample` a video is sampled by the head's own rule, or as `fps:1` says.
    """
    if head is not None:
        moments = await _moments(request, rule or head.rule, service, head=head)
        return await service.computed(
            partial(units_reply, moments, service, head, top=top, is_arrow=wants_arrow(request))
        )
    service.require_classes()
    moments = await _moments(request, rule or DEFAULT_RULE, service)
    ranking = await service.ranking(moments.features, top=top)
    reply = _arrow_of_labels if wants_arrow(request) else _json_of_labels
    return await _off_the_loop(partial(reply, moments, service, ranking), moments)


async def _moments(
    request: Request, rule: SamplingRule, service: FeatureService, *, head: ServedHead | None = None
) -> Moments:
    async with posted(request) as body:
        if is_still(body.head):
            if head is not None:
                require_pictures(head)
            features = await service.still(await body.read())
            return Moments(marks=_A_STILL, features=features, end_s=None, missing=())
        return await service.video(body.file, size_bytes=body.size_bytes, rule=rule)


async def _off_the_loop(reply: Callable[[], Response], moments: Moments) -> Response:
    """Encode an answer in a thread, unless it is soon done: a still need not wait for a thread."""
    return reply() if len(moments.marks) <= _FEW else await asyncio.to_thread(reply)


def _json_of_features(moments: Moments, service: FeatureService) -> Response:
    return _json(service, _embedded(moments), moments.missing)


def _embedded(moments: Moments) -> Iterable[EmbeddedSample]:
    if moments.ends is None:
        for mark, feature in zip(moments.marks, moments.features, strict=True):
            yield EmbeddedSample(time_s=mark.time_s, pts=mark.pts, feature=feature)
        return
    for mark, end, feature in zip(moments.marks, moments.ends, moments.features, strict=True):
        yield EmbeddedClip(
            time_s=mark.time_s,
            pts=mark.pts,
            end_time_s=end.time_s,
            end_pts=end.pts,
            num_frames=end.num_frames,
            feature=feature,
        )


def _json_of_labels(moments: Moments, service: FeatureService, ranking: Ranking) -> Response:
    samples = (
        ClassifiedSample(time_s=mark.time_s, pts=mark.pts, labels=ranking.labels(row))
        for row, mark in enumerate(moments.marks)
    )
    return _json(service, samples, moments.missing)


def _json(service: FeatureService, samples: Iterable[object], missing: Sequence[Quarantined]) -> Response:
    return json_reply({**_about(service), "samples": encoded_apart(samples), "missing": [*map(Missing.of, missing)]})


def _arrow_of_features(moments: Moments, service: FeatureService) -> Response:
    """The feature column is ``fixed_size_list<float>[D]``, as in a dataset."""
    flat = pa.array(np.ascontiguousarray(moments.features).reshape(-1), pa.float32())
    column = pa.FixedSizeListArray.from_arrays(flat, moments.features.shape[1])
    return arrow_reply({**time_columns(moments), "feature": column}, about=_about(service))


def _arrow_of_labels(moments: Moments, service: FeatureService, ranking: Ranking) -> Response:
    """The label column is ``list<struct<label, probability>>``."""
    columns = {**time_columns(moments), "labels": label_column(ranking)}
    return arrow_reply(columns, about=_about(service))


def _about(service: FeatureService) -> dict[str, str]:
    return {"model": service.info.name, "fingerprint": service.fingerprint}
