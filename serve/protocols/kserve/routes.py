"""``/v2``: the routes of the Open Inference Protocol (KServe v2), with the binary tensor extension."""

import asyncio
from dataclasses import dataclass
from functools import partial

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from pipeline import __version__
from serve.inference.batching import Features
from serve.inference.service import FeatureService
from serve.problems import NotFound, Problem
from serve.protocols.kserve.requests import HEADER_LENGTH, InferRequest, InputTensor, parse_request, request_schema
from serve.protocols.kserve.tensors import Outputs, encoded_pictures, pixels
from serve.protocols.parameters import Admitted, Service
from serve.web.replies import json_reply, to_json

PREFIX = "/v2"
router = APIRouter(prefix=PREFIX, tags=["Open Inference Protocol"])
_VERSION = "1"
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


# A model's name may hold slashes (timm/NAME), so the longer paths come first: of two decorators, the lower one.
@router.get("/models/{model:path}/ready")
@router.get("/models/{model:path}/versions/{version}/ready")
async def is_model_ready(service: Service, model: str, version: str = _VERSION) -> Response:
    """The model is loaded."""
    _require(service, model, version)
    return _readiness(service, {"name": model})


@router.post("/models/{model:path}/infer", openapi_extra=_INFER_BODY)
@router.post("/models/{model:path}/versions/{version}/infer", openapi_extra=_INFER_BODY)
async def infer(request: Request, service: Admitted, model: str, version: str = _VERSION) -> Response:
    """Features, and the probabilities of the classes, of model inputs or of encoded pictures."""
    _require(service, model, version)
    offered = _offered(service)
    read = partial(_read, await request.body(), request.headers.get(HEADER_LENGTH), service, offered)
    inference = await asyncio.to_thread(read)
    features = await _features(service, inference.pictures)
    values = {
        name: features if name == "feature" else await service.probabilities(features)
        for name in inference.outputs.names
    }
    return await asyncio.to_thread(_reply, inference, values, model)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inference:
    """A request that was read: model inputs or encoded pictures, and the outputs that are wanted."""

    id: str | None
    pictures: NDArray[np.uint8] | list[bytes]
    outputs: Outputs


def _read(body: bytes, header_length: str | None, service: FeatureService, offered: tuple[str, ...]) -> _Inference:
    request, binary = parse_request(body, header_length)
    outputs = Outputs(request, offered=offered)
    tensor = _only_input(request)
    _require_few(tensor, most=service.limits.max_samples)
    crop_px = service.info.preprocessing.crop_px
    is_encoded = tensor.name == "image"
    pictures = encoded_pictures(tensor, binary) if is_encoded else pixels(tensor, binary, crop_px=crop_px)
    return _Inference(id=request.id, pictures=pictures, outputs=outputs)


def _reply(inference: _Inference, values: dict[str, Features], model: str) -> Response:
    outputs = inference.outputs
    for name, value in values.items():
        outputs.add(name, value)
    named = {} if inference.id is None else {"id": inference.id}
    header = to_json({"model_name": model, "model_version": _VERSION, "outputs": outputs.tensors, **named})
    if not outputs.binary:
        return Response(header, media_type="application/json")
    return Response(
        b"".join([header, *outputs.binary]),
        media_type="application/octet-stream",
        headers={HEADER_LENGTH: str(len(header))},
    )


@router.get("/models/{model:path}")
@router.get("/models/{model:path}/versions/{version}")
async def about_model(service: Service, model: str, version: str = _VERSION) -> Response:
    """The inputs, of which a request has one, and the outputs."""
    _require(service, model, version)
    height, width = service.info.preprocessing.crop_px
    dims = {"feature": service.info.dim, "probability": len(service.classes)}
    return json_reply(
        {
            "name": model,
            "versions": [_VERSION],
            "platform": "vidlake_pytorch",
            "inputs": [
                {"name": "pixels", "datatype": "UINT8", "shape": [-1, height, width, 3]},
                {"name": "image", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [{"name": name, "datatype": "FP32", "shape": [-1, dims[name]]} for name in _offered(service)],
        }
    )


def _readiness(service: FeatureService, about: dict[str, str]) -> Response:
    is_draining = service.admission.is_draining
    return json_reply({**about, "ready": not is_draining}, status=503 if is_draining else 200)


def _offered(service: FeatureService) -> tuple[str, ...]:
    return ("feature", "probability") if service.classes else ("feature",)


def _require(service: FeatureService, model: str, version: str) -> None:
    if model != service.info.name:
        raise NotFound(f"unknown model {model!r}: {service.info.name} is served")
    if version != _VERSION:
        raise NotFound(f"unknown version {version!r} of {model}: there is {_VERSION}")


def _only_input(request: InferRequest) -> InputTensor:
    if len(request.inputs) != 1 or request.inputs[0].name not in ("pixels", "image"):
        raise Problem("give one input, 'pixels' or 'image'")
    return request.inputs[0]


async def _features(service: FeatureService, pictures: NDArray[np.uint8] | list[bytes]) -> Features:
    return await (service.prepared(pictures) if isinstance(pictures, np.ndarray) else service.stills(pictures))


def _require_few(tensor: InputTensor, *, most: int) -> None:
    if not tensor.shape or not 1 <= tensor.shape[0] <= most:
        raise Problem(f"input {tensor.name!r} must hold between 1 and {most} pictures")
