"""``/v2``: the Open Inference Protocol (KServe v2) with the binary tensor extension; tensors: ``tensors.py``."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from pipeline import __version__
from serve.inference.batching import Features
from serve.inference.service import FeatureService
from serve.problems import NotFound, Problem
from serve.protocols.kserve.tensors import (
    HEADER_LENGTH,
    InferRequest,
    InputTensor,
    Outputs,
    encoded_pictures,
    parse_request,
    pixels,
)
from serve.web.dependencies import Admitted, Service
from serve.web.replies import json_reply, to_json

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
_VERSION = "1"
_INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"JSON, or JSON of {HEADER_LENGTH} bytes with the binary tensors behind it.",
        "content": {
            "application/json": {"schema": InferRequest.model_json_schema()},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


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
    return json_reply({"ready": not service.is_draining}, status=503 if service.is_draining else 200)


# A model's name may hold slashes (timm/NAME), so the longer paths come first: of two decorators, the lower one.
@router.get("/models/{model:path}/ready")
@router.get("/models/{model:path}/versions/{version}/ready")
async def is_model_ready(service: Service, model: str, version: str = _VERSION) -> Response:
    """The model is loaded."""
    _require(service, model, version)
    return json_reply({"name": model, "ready": not service.is_draining}, status=503 if service.is_draining else 200)


@router.post("/models/{model:path}/infer", openapi_extra=_INFER_BODY)
@router.post("/models/{model:path}/versions/{version}/infer", openapi_extra=_INFER_BODY)
async def infer(request: Request, service: Admitted, model: str, version: str = _VERSION) -> Response:
    """Features, and the probabilities of the classes, of model inputs or of encoded pictures."""
    _require(service, model, version)
    asked, binary = parse_request(await request.body(), request.headers.get(HEADER_LENGTH))
    outputs = Outputs(asked, offered=_offered(service))
    features = await _features(service, asked, binary)
    for name in outputs.names:
        outputs.add(name, features if name == "feature" else await service.probabilities(features))
    document = {"model_name": model, "model_version": _VERSION, "outputs": outputs.documents}
    if asked.id is not None:
        document["id"] = asked.id
    header = to_json(document)
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
    """Inputs, of which a request has one, and outputs."""
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


def _offered(service: FeatureService) -> tuple[str, ...]:
    return ("feature", "probability") if service.classes else ("feature",)


def _require(service: FeatureService, model: str, version: str) -> None:
    if model != service.info.name:
        raise NotFound(f"unknown model {model!r}: {service.info.name} is served")
    if version != _VERSION:
        raise NotFound(f"unknown version {version!r} of {model}: there is {_VERSION}")


async def _features(service: FeatureService, asked: InferRequest, binary: memoryview) -> Features:
    given = {tensor.name: tensor for tensor in asked.inputs}
    if len(given) != 1 or len(asked.inputs) != 1 or not given.keys() <= {"pixels", "image"}:
        raise Problem("give one input, 'pixels' or 'image'")
    [tensor] = asked.inputs
    _require_few(tensor, most=service.limits.max_samples)
    if tensor.name == "pixels":
        return await service.prepared(pixels(tensor, binary, crop_px=service.info.preprocessing.crop_px))
    return await service.stills(encoded_pictures(tensor, binary))


def _require_few(tensor: InputTensor, *, most: int) -> None:
    if not tensor.shape or not 1 <= tensor.shape[0] <= most:
        raise Problem(f"input {tensor.name!r} must hold between 1 and {most} pictures")
