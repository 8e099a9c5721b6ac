"""``/score``: the HTTP extension contract of Azure Video Analyzer, which edge gateways and camera hubs speak."""

import base64
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from pipeline.media.decode.pixels import RawLayout, picture_from_raw, raw_bytes
from serve.inference.batching import Features
from serve.inference.labels import Label, best_labels
from serve.inference.service import FeatureService
from serve.problems import BadInput, Problem, UnsupportedType
from serve.protocols.features import Top
from serve.web.bodies import content_type
from serve.web.dependencies import Admitted
from serve.web.replies import json_reply

router = APIRouter(tags=["Azure Video Analyzer"])
_ENCODED = ("image/jpeg", "image/png", "image/bmp")
_RAW = "image/x-raw"
_FEATURE_TYPE = "application/octet-stream"

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (*_ENCODED, _RAW)},
    }
}


class Tag(BaseModel):
    """A label."""

    value: str
    confidence: float


class Classification(BaseModel):
    """What the whole picture shows."""

    tag: Tag


class Other(BaseModel):
    """The feature, ``float32`` little-endian, of a model without classes."""

    contentType: str  # noqa: N815 (the contract's own name)
    contentBytes: str  # noqa: N815


class Inference(BaseModel):
    """One inference; the body goes by the name of ``type``."""

    type: Literal["classification", "other"]
    subtype: str
    classification: Classification | None = None
    other: Other | None = None
    extensions: dict[str, str]


class Inferences(BaseModel):
    """At least one; where there is none the answer is 204."""

    inferences: list[Inference]


@router.post(
    "/score",
    response_model=Inferences,
    responses={204: {"description": "Nothing is as probable as `confidence`."}},
    openapi_extra=_BODY,
)
async def score(
    request: Request,
    service: Admitted,
    *,
    confidence: Annotated[float, Query(ge=0, le=1)] = 0.0,
    top: Top = 5,
    width: Annotated[int | None, Query(ge=1, description="Of image/x-raw.")] = None,
    height: Annotated[int | None, Query(ge=1, description="Of image/x-raw.")] = None,
    pixel_format: Annotated[RawLayout | None, Query(alias="pixelFormat", description="Of image/x-raw.")] = None,
) -> Response:
    """The most probable classes of a picture."""
    kind = content_type(request)
    if kind == _RAW:
        features = await _of_raw(request, service, width=width, height=height, layout=pixel_format)
    elif kind in _ENCODED:
        features = await service.still(_required(await request.body()))
    else:
        raise UnsupportedType(f"send {', '.join(_ENCODED)} or {_RAW}, not {kind or 'no type'}")
    if not service.classes:
        return json_reply({"inferences": [_feature(features, service)]})
    [labels] = best_labels(await service.probabilities(features), service.classes, top=top)
    inferences = [_inference(label, service) for label in labels if label.probability >= confidence]
    return json_reply({"inferences": inferences}) if inferences else Response(status_code=204)


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


def _inference(label: Label, service: FeatureService) -> dict[str, Any]:
    tag = {"value": label.label, "confidence": label.probability}
    return {**_frame("classification", service), "classification": {"tag": tag}}


def _feature(features: Features, service: FeatureService) -> dict[str, Any]:
    content = base64.b64encode(features.astype("<f4").tobytes()).decode()
    return {**_frame("other", service), "other": {"contentType": _FEATURE_TYPE, "contentBytes": content}}


def _frame(kind: str, service: FeatureService) -> dict[str, Any]:
    extensions = {"model": service.info.name, "fingerprint": service.fingerprint}
    return {"type": kind, "subtype": service.info.name, "extensions": extensions}
