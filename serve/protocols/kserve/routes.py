"""``/v2``: the routes of the Open Inference Protocol (KServe v2), with the binary tensor extension."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline import __version__
from serve.inference.service import FeatureService
from serve.problems import Problem
from serve.protocols.kserve.models import OWN_VERSION, Given, OfferedModel, Output, model_named
from serve.protocols.kserve.requests import HEADER_LENGTH, InferRequest, InputTensor, parse_request, request_schema
from serve.protocols.kserve.tensors import Outputs, encoded_pictures, features, pixels
from serve.protocols.parameters import Admitted, Service
from serve.web.replies import json_reply, to_json

PREFIX = "/v2"
router = APIRouter(prefix=PREFIX, tags=["Open Inference Protocol"])
_INFER_BODY: dict[str, object] = {
    "requestBody": {
        "required": True,
        "description": f"JSON, or JSON of {HEADER_LENGTH} bytes with the binary tensors behind it.",
        "content": {
            "application/json": {"schema": request_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def error_document(problem: Problem) -> dict[str, str]:
    """The protocol's shape of an error: a sentence, without a code."""
    return {"error": problem.message}


@router.get("")
async def about_server() -> Response:
    """Name, version and extensions."""
    return json_reply({"name": "vidlake", "version": __version__, "extensions": ["binary_tensor_data"]})


@router.get("/health/live")
async def is_live() -> Response:
    """The process answers."""
    return json_reply({"live": True})


@router.get("/health/ready")
async def is_ready(service: Service) -> Response:
    """Requests are taken."""
    return _readiness(service, {})


@router.post("/repository/index")
async def index(service: Service) -> Response:
    """The models: the server's own, and the heads, those included that cannot answer."""
    ready = "UNAVAILABLE" if service.admission.is_draining else "READY"
    own = {"name": service.info.name, "version": OWN_VERSION, "state": ready, "reason": ""}
    heads = [
        {
            "name": status.name,
            "version": str(status.served.version) if status.served else "",
            "state": ready if status.served else "UNAVAILABLE",
            "reason": status.problem or "",
        }
        for status in service.heads.statuses()
    ]
    return json_reply([own, *heads])


# A model's name may hold slashes (timm/NAME), so the longer paths come first: of two decorators, the lower one.
@router.get("/models/{model:path}/ready")
@router.get("/models/{model:path}/versions/{version}/ready")
async def is_model_ready(service: Service, model: str, version: str | None = None) -> Response:
    """The model is loaded."""
    model_named(service, model, version=version)
    return _readiness(service, {"name": model})


@router.post("/models/{model:path}/infer", openapi_extra=_INFER_BODY)
@router.post("/models/{model:path}/versions/{version}/infer", openapi_extra=_INFER_BODY)
async def infer(request: Request, service: Admitted, model: str, version: str | None = None) -> Response:
    """What a model says of model inputs, of encoded pictures or, if it is a head, of features."""
    asked = model_named(service, model, version=version)
    read = partial(_read, await request.body(), request.headers.get(HEADER_LENGTH), service, asked)
    inference = await asyncio.to_thread(read)
    values = await asked.answer(inference.given, inference.outputs.names)
    return await asyncio.to_thread(_reply, inference, values, asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inference:
    """A request that was read: what is given, and the outputs that are wanted."""

    id: str | None
    given: Given
    outputs: Outputs


def _read(body: bytes, header_length: str | None, service: FeatureService, model: OfferedModel) -> _Inference:
    request, binary = parse_request(body, header_length)
    outputs = Outputs(request, offered=tuple(output.name for output in model.outputs()))
    tensor = _only_input(request, offered=[kind.name for kind in model.inputs()])
    _require_few(tensor, most=service.limits.max_samples)
    given: Given
    if tensor.name == "image":
        given = encoded_pictures(tensor, binary)
    elif tensor.name == "pixels":
        given = pixels(tensor, binary, crop_px=service.info.preprocessing.crop_px)
    else:
        given = features(tensor, binary, dim=service.info.dim)
    return _Inference(id=request.id, given=given, outputs=outputs)


def _reply(inference: _Inference, values: Mapping[str, Output], model: OfferedModel) -> Response:
    outputs = inference.outputs
    for name, value in values.items():
        outputs.add(name, value)
    named = {} if inference.id is None else {"id": inference.id}
    about = {"model_name": model.name, "model_version": model.version}
    header = to_json({**about, "outputs": outputs.tensors, **named})
    if not outputs.binary:
        return Response(header, media_type="application/json", headers=model.headers())
    return Response(
        b"".join([header, *outputs.binary]),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(header)), **model.headers()},
    )


@router.get("/models/{model:path}")
@router.get("/models/{model:path}/versions/{version}")
async def about_model(service: Service, model: str, version: str | None = None) -> Response:
    """The inputs, of which a request has one, and the outputs."""
    asked = model_named(service, model, version=version)
    return json_reply(
        {
            "name": asked.name,
            "versions": [asked.version],
            "platform": asked.platform,
            "inputs": asked.inputs(),
            "outputs": asked.outputs(),
        }
    )


def _readiness(service: FeatureService, about: dict[str, str]) -> Response:
    is_draining = service.admission.is_draining
    return json_reply({**about, "ready": not is_draining}, status=503 if is_draining else 200)


def _only_input(request: InferRequest, *, offered: Sequence[str]) -> InputTensor:
    if len(request.inputs) != 1 or request.inputs[0].name not in offered:
        raise Problem(f"give one input, {' or '.join(map(repr, offered))}")
    return request.inputs[0]


def _require_few(tensor: InputTensor, *, most: int) -> None:
    if not tensor.shape or not 1 <= tensor.shape[0] <= most:
        raise Problem(f"input {tensor.name!r} must hold between 1 and {most} pictures")
