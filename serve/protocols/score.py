"""``/score``: the HTTP extension contract of Azure Video Analyzer, which edge gateways and camera hubs use."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from pipeline.media.decode.pixels import RawLayout, picture_from_raw, raw_bytes
from pipeline.models.batching import Features
from serve.inference.head_answers import picture_labels, require_pictures
from serve.inference.head_folder import ServedHead
from serve.inference.labels import Label
from serve.inference.service import FeatureService
from serve.problems import BadInput, Problem, UnsupportedType
from serve.protocols.answers import head_headers
from serve.protocols.parameters import Admitted, HeadOrDefault, Top
from serve.web.bodies import STILL_TYPES, UNTYPED, content_type, may_be_still
from serve.web.replies import json_reply

router = APIRouter(tags=["Azure Video Analyzer"])
_RAW = "image/x-raw"
_FEATURE_TYPE = "application/octet-stream"

_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (*STILL_TYPES, UNTYPED, _RAW)},
    }
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A label."""

    value: str
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What the whole picture shows."""

    tag: Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationInference:
    """One class."""

    type: Literal["classification"]
    subtype: str
    classification: Classification
    extensions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A feature, ``float32`` little-endian, in base64."""

    contentType: str  # noqa: N815 (the contract's own name)
    contentBytes: str  # noqa: N815


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherInference:
    """The answer of a model without classes."""

    type: Literal["other"]
    subtype: str
    other: Other
    extensions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inferences:
    """The answer: at least one inference. Where there is none, the status is 204."""

    inferences: Sequence[ClassificationInference | OtherInference]


@router.post(
    "/score",
    response_model=Inferences,
    responses={204: {"description": "Nothing is as probable as `confidence`."}},
    openapi_extra=_BODY,
)
async def score(
    request: Request,
    service: Admitted,
    head: HeadOrDefault,
    *,
    confidence: Annotated[float, Query(ge=0, le=1)] = 0.0,
    top: Top = 5,
    width: Annotated[int | None, Query(ge=1, description="Of image/x-raw.")] = None,
    height: Annotated[int | None, Query(ge=1, description="Of image/x-raw.")] = None,
    pixel_format: Annotated[RawLayout | None, Query(alias="pixelFormat", description="Of image/x-raw.")] = None,
) -> Response:
    """The most probable classes of a picture, or a head's labels."""
    if head is not None:
        require_pictures(head)
    kind = content_type(request)
    if kind == _RAW:
        features = await _of_raw(request, service, width=width, height=height, layout=pixel_format)
    elif may_be_still(kind):
        features = await service.still(_required(await request.body()))
    else:
        raise UnsupportedType(f"send {', '.join(STILL_TYPES)} or {_RAW}, not {kind}")
    if head is not None:
        labels = await service.computed(partial(picture_labels, head, features, top=top))
        return _reply(labels, _Source.of_head(head, service), confidence=confidence)
    if not service.classes:
        return json_reply(Inferences(inferences=[_feature(features, service)]))
    ranking = await service.ranking(features, top=top)
    return _reply(ranking.labels(0), _Source.of_model(service), confidence=confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Who says so: the model's own classes, or a head."""

    subtype: str
    extensions: dict[str, str]
    headers: dict[str, str]

    @classmethod
    def of_model(cls, service: FeatureService) -> "_Source":
        return cls(subtype=service.info.name, extensions=_extensions(service), headers={})

    @classmethod
    def of_head(cls, head: ServedHead, service: FeatureService) -> "_Source":
        about = {"head": head.name, "version": str(head.version), "digest": head.digest}
        return cls(subtype=head.name, extensions={**_extensions(service), **about}, headers=head_headers(head))


def _reply(labels: Sequence[Label], source: _Source, *, confidence: float) -> Response:
    inferences = [_class(label, source) for label in labels if label.probability >= confidence]
    reply = json_reply(Inferences(inferences=inferences)) if inferences else Response(status_code=204)
    reply.headers.update(source.headers)
    return reply


async def _of_raw(
    request: Request, service: FeatureService, *, width: int | None, height: int | None, layout: RawLayout | None
) -> Features:
    if width is None or height is None or layout is None:
        raise Problem(f"{_RAW} needs ?width=, ?height= and ?pixelFormat=")
    if width * height > service.limits.max_pixels:
        raise BadInput("too_large", f"{width} x {height} is more than {service.limits.max_pixels} pixels")
    data = await request.body()
    expected = raw_bytes(layout, width=width, height=height)
    if len(data) != expected:
        raise BadInput("corrupt", f"{width} x {height} in {layout} are {expected} bytes, not {len(data)}")
    return await service.picture(partial(picture_from_raw, data, layout, width=width, height=height))


def _required(data: bytes) -> bytes:
    if not data:
        raise BadInput("unreadable", "the body is empty")
    return data


def _class(label: Label, source: _Source) -> ClassificationInference:
    return ClassificationInference(
        type="classification",
        subtype=source.subtype,
        classification=Classification(tag=Tag(value=label.label, confidence=label.probability)),
        extensions=source.extensions,
    )


def _feature(features: Features, service: FeatureService) -> OtherInference:
    content = base64.b64encode(features.astype("<f4").tobytes()).decode()
    return OtherInference(
        type="other",
        subtype=service.info.name,
        other=Other(contentType=_FEATURE_TYPE, contentBytes=content),
        extensions=_extensions(service),
    )


def _extensions(service: FeatureService) -> dict[str, str]:
    return {"model": service.info.name, "fingerprint": service.fingerprint}
