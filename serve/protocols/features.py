"""``/v1/embed`` and ``/v1/classify``: a picture or a video in, its features or labels out."""

from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.segments import FrameMark
from serve.inference.labels import Label, best_labels
from serve.inference.service import FeatureService, Moments
from serve.web.bodies import OPENAPI_BODY, posted
from serve.web.dependencies import Admitted, Rule
from serve.web.replies import ARROW, arrow_reply, feature_column, json_reply, missing_documents, wants_arrow

router = APIRouter(tags=["features"])
_A_STILL = (FrameMark(epoch=0, pts=0, time_s=0.0, is_keyframe=True, is_corrupt=False),)
_LABELS = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float32())]))

Top = Annotated[int, Query(ge=1, le=1000, description="How many labels, the most probable first.")]


class Missing(BaseModel):
    """A stretch of a damaged video that is not among the samples."""

    start_s: float | None
    end_s: float | None
    code: str
    message: str


class _Sample(BaseModel):
    time_s: float
    pts: int


class EmbeddedSample(_Sample):
    """One frame: seconds from the first one, ``pts`` in the stream's time base, and its feature."""

    feature: list[float]


class ClassifiedSample(_Sample):
    """One frame and its most probable classes."""

    labels: list[Label]


class _Answer(BaseModel):
    model: str
    fingerprint: str
    missing: list[Missing] = []


class Embedded(_Answer):
    """The answer of ``/v1/embed``."""

    samples: list[EmbeddedSample]


class Classified(_Answer):
    """The answer of ``/v1/classify``."""

    samples: list[ClassifiedSample]


_ARROW_TOO: dict[int | str, dict[str, Any]] = {
    200: {"content": {ARROW: {"schema": {"type": "string", "format": "binary"}}}}
}


@router.post("/v1/embed", response_model=Embedded, responses=_ARROW_TOO, openapi_extra=OPENAPI_BODY)
async def embed(request: Request, rule: Rule, service: Admitted) -> Response:
    """The features of a picture, or of a video's samples."""
    moments = await _moments(request, rule, service)
    if wants_arrow(request):
        columns = {"feature": feature_column(moments.features)}
        return arrow_reply(moments.marks, columns, about=_about(service))
    features = ({"feature": feature} for feature in moments.features)
    return json_reply(_document(service, moments, features))


@router.post("/v1/classify", response_model=Classified, responses=_ARROW_TOO, openapi_extra=OPENAPI_BODY)
async def classify(request: Request, rule: Rule, service: Admitted, top: Top = 5) -> Response:
    """What the model takes a picture for, or each of a video's samples."""
    service.require_classes()
    moments = await _moments(request, rule, service)
    probabilities = await service.probabilities(moments.features)
    labels = best_labels(probabilities, service.classes, top=top)
    if wants_arrow(request):
        rows = [[(one.label, one.probability) for one in some] for some in labels]
        return arrow_reply(moments.marks, {"labels": pa.array(rows, _LABELS)}, about=_about(service))
    return json_reply(_document(service, moments, ({"labels": some} for some in labels)))


async def _moments(request: Request, rule: SamplingRule, service: FeatureService) -> Moments:
    async with posted(request) as body:
        if body.is_still:
            return Moments(marks=_A_STILL, features=await service.still(body.read()), missing=())
        return await service.video(body.file, size_bytes=body.size_bytes, rule=rule)


def _about(service: FeatureService) -> dict[str, str]:
    return {"model": service.info.name, "fingerprint": service.fingerprint}


def _document(service: FeatureService, moments: Moments, contents: Any) -> dict[str, Any]:
    samples = [
        {"time_s": mark.time_s, "pts": mark.pts, **content}
        for mark, content in zip(moments.marks, contents, strict=True)
    ]
    return {**_about(service), "samples": samples, "missing": missing_documents(moments.missing)}
