"""``/healthz``, ``/readyz`` and ``/v1/models``."""

from dataclasses import dataclass
from typing import Self

from fastapi import APIRouter
from starlette.responses import Response

from serve.problems import Busy
from serve.protocols.parameters import Service
from serve.settings import Limits
from serve.web.replies import json_reply

router = APIRouter(tags=["status"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The server's state."""

    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is served."""

    name: str
    dim: int
    input_size: list[int]
    weights_digest: str
    precision: str
    fingerprint: str
    """Equal to a dataset's fingerprint where its features can be compared with these."""
    num_classes: int
    heads: list[str]
    """Trained heads that classify these features; the model's own classes need none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """What one request may bring; more is answered 413."""

    max_body_bytes: int
    max_pixels: int
    max_duration_s: float
    max_samples: int

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Those of the settings."""
        return cls(
            max_body_bytes=limits.max_body_bytes,
            max_pixels=limits.max_pixels,
            max_duration_s=limits.max_duration_s,
            max_samples=limits.max_samples,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """All models that are served."""

    models: list[Model]
    limits: RequestLimits


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """The process answers."""
    return json_reply(Health(status="ok"))


@router.get("/readyz", response_model=Health, responses={503: {"description": "About to stop."}})
async def readyz(service: Service) -> Response:
    """The model is loaded, and requests are taken."""
    if service.admission.is_draining:
        raise Busy("the server is about to stop")
    return json_reply(Health(status="ready"))


@router.get("/v1/models", response_model=Models)
async def models(service: Service) -> Response:
    """The models that are served, their trained heads, and what one request may bring."""
    info = service.info
    model = Model(
        name=info.name,
        dim=info.dim,
        input_size=list(info.preprocessing.crop_px),
        weights_digest=info.weights_digest,
        precision=service.precision,
        fingerprint=service.fingerprint,
        num_classes=len(service.classes),
        heads=service.heads.names(),
    )
    return json_reply(Models(models=[model], limits=RequestLimits.of(service.limits)))
