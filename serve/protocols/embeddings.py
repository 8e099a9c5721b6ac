"""``/v1/embeddings``: the shape that OpenAI's clients speak, with pictures as data URIs in the place of texts."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from serve.inference.service import FeatureService
from serve.problems import NotFound, Problem
from serve.protocols.parameters import Admitted
from serve.web.replies import encoded_numbers, json_reply

router = APIRouter(tags=["OpenAI embeddings"])
_DATA_URI = re.compile(r"data:image/[a-zA-Z0-9.+-]+;base64,", re.ASCII)


class EmbeddingsBody(BaseModel):
    """Pictures as ``data:image/...;base64,...``, one or a list."""

    model_config = ConfigDict(extra="forbid")

    input: str | Annotated[list[str], Field(min_length=1)]
    model: str
    """The name of the model that is served."""
    encoding_format: Literal["float", "base64"] = "float"
    """``base64``: of ``float32``, little-endian."""
    dimensions: int | None = None
    """As many as the model's features have; they are not shortened."""
    user: str | None = None
    """Ignored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """The feature of one picture."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Pictures have no tokens."""

    prompt_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The answer."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


@router.post("/v1/embeddings", response_model=Embeddings)
async def embeddings(body: EmbeddingsBody, service: Admitted) -> Response:
    """The features of pictures: those of `/v1/embed`, in OpenAI's shape."""
    _require_fit(body, service)
    inputs = [body.input] if isinstance(body.input, str) else body.input
    if len(inputs) > service.limits.max_samples:
        raise Problem(f"more than {service.limits.max_samples} pictures")
    features = await service.stills([picture_of(each, name=f"input {at}") for at, each in enumerate(inputs)])
    encoded = _as_base64 if body.encoding_format == "base64" else encoded_numbers
    data = [{"object": "embedding", "index": at, "embedding": encoded(feature)} for at, feature in enumerate(features)]
    usage = Usage(prompt_tokens=0, total_tokens=0)
    return json_reply({"object": "list", "data": data, "model": service.info.name, "usage": usage})


def picture_of(text: str, *, name: str) -> bytes:
    """The bytes of a picture in a data URI; no address is ever read.

    Raises:
        Problem: it is none.
    """
    start = _DATA_URI.match(text)
    if start is None:
        raise Problem(f"{name}: give a picture as data:image/png;base64,...")
    try:
        data = base64.b64decode(text[start.end() :], validate=True)
    except binascii.Error:
        raise Problem(f"{name}: is not base64") from None
    if not data:
        raise Problem(f"{name}: is empty")
    return data


def _require_fit(body: EmbeddingsBody, service: FeatureService) -> None:
    if body.model != service.info.name:
        raise NotFound(f"there is no model {body.model[:100]!r} here: ask for {service.info.name}")
    if body.dimensions not in (None, service.info.dim):
        raise Problem(f"dimensions: a feature of {service.info.name} has {service.info.dim} values")


def _as_base64(feature: "np.ndarray[tuple[int], np.dtype[np.float32]]") -> str:
    return base64.b64encode(feature.astype("<f4").tobytes()).decode()
