"""Tensors of the Open Inference Protocol, as JSON or as bytes behind it."""

import base64
import binascii
import math
import struct
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from serve.inference.batching import Features
from serve.problems import Problem

HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH = struct.Struct("<I")


class InputTensor(BaseModel):
    """An input: ``data`` flat or nested, or ``binary_data_size`` bytes behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestedOutput(BaseModel):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(BaseModel):
    """A request, less what lies behind it."""

    id: str | None = None
    parameters: dict[str, Any] = {}
    inputs: list[InputTensor] = Field(min_length=1)
    outputs: list[RequestedOutput] = []


def parse_request(body: bytes, header_length: str | None) -> tuple[InferRequest, memoryview]:
    """Take a body apart into its JSON and the binary data behind it.

    Raises:
        Problem: it is no request.
    """
    if header_length is None:
        num_bytes = len(body)
    elif header_length.isascii() and header_length.isdecimal() and len(header_length) < 18:
        num_bytes = int(header_length)
    else:
        raise Problem(f"{HEADER_LENGTH} is not a number")
    if num_bytes > len(body):
        raise Problem(f"{HEADER_LENGTH} is {num_bytes}, and the body has {len(body)} bytes")
    try:
        asked = InferRequest.model_validate(orjson.loads(memoryview(body)[:num_bytes]))
    except orjson.JSONDecodeError as error:
        raise Problem(f"the request is not JSON: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Problem(f"the request does not fit: {where or 'body'}: {first['msg']}") from None
    return asked, memoryview(body)[num_bytes:]


def pixels(tensor: InputTensor, binary: memoryview, *, crop_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Model inputs ``uint8[n, H, W, 3]``.

    Raises:
        Problem: another type or shape, or not as many numbers as the shape says.
    """
    _require_type(tensor, "UINT8")
    shape = tuple(tensor.shape)
    if len(shape) != 4 or shape[0] < 1 or shape[1:] != (*crop_px, 3):
        raise Problem(f"input {tensor.name!r} must have the shape {[-1, *crop_px, 3]}, not {tensor.shape}")
    raw = _raw(tensor, binary)
    values = np.frombuffer(raw, np.uint8) if raw is not None else _numbers(tensor)
    if values.size != math.prod(shape):
        raise Problem(f"input {tensor.name!r} has {values.size} numbers, and its shape asks for {math.prod(shape)}")
    return values.reshape(shape)


def encoded_pictures(tensor: InputTensor, binary: memoryview) -> list[bytes]:
    """Encoded pictures: in JSON as base64, in binary data each behind its length.

    Raises:
        Problem: it is not that, or not as many as the shape says.
    """
    _require_type(tensor, "BYTES")
    raw = _raw(tensor, binary)
    found = [_decoded(text) for text in tensor.data or []] if raw is None else _split(raw)
    if [len(found)] != tensor.shape:
        raise Problem(f"input {tensor.name!r} holds {len(found)} pictures, and its shape is {tensor.shape}")
    return found


class Outputs:
    """What is answered: documents for the JSON, and the bytes that go behind it."""

    def __init__(self, asked: InferRequest, *, offered: tuple[str, ...]) -> None:
        """Understand which outputs are wanted, and how.

        Raises:
            Problem: one is not ``offered``.
        """
        wanted = asked.outputs or [RequestedOutput(name=name) for name in offered]
        by_default = asked.parameters.get("binary_data_output", False)
        self._is_binary = {output.name: bool(output.parameters.get("binary_data", by_default)) for output in wanted}
        unknown = self._is_binary.keys() - set(offered)
        if unknown:
            raise Problem(f"unknown output {min(unknown)!r}: there is {' and '.join(offered)}")
        self.names = tuple(self._is_binary)
        self.documents: list[dict[str, Any]] = []
        self.binary: list[bytes] = []

    def add(self, name: str, values: Features) -> None:
        """Put in ``float32[n, m]``."""
        document: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
        if self._is_binary[name]:
            data = values.astype("<f4", copy=False).tobytes()
            self.binary.append(data)
            document["parameters"] = {"binary_data_size": len(data)}
        else:
            document["data"] = np.ascontiguousarray(values).reshape(-1)
        self.documents.append(document)


def _require_type(tensor: InputTensor, datatype: str) -> None:
    if tensor.datatype != datatype:
        raise Problem(f"input {tensor.name!r} must be {datatype}, not {tensor.datatype}")


def _raw(tensor: InputTensor, binary: memoryview) -> memoryview | None:
    """The tensor's bytes, all of what lies behind the JSON; ``None``: it is in the JSON."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None or len(binary):
            raise Problem(f"input {tensor.name!r} must have either data or binary_data_size")
        return None
    if tensor.data is not None or not isinstance(size, int) or size != len(binary):
        raise Problem(f"input {tensor.name!r}: binary_data_size is {size}, and {len(binary)} bytes follow")
    return binary


def _numbers(tensor: InputTensor) -> NDArray[np.uint8]:
    try:
        values = np.asarray(tensor.data)
    except ValueError:
        raise Problem(f"input {tensor.name!r}: the lists in its data differ in length") from None
    if values.dtype.kind != "i" or (values.size and not 0 <= values.min() <= values.max() <= 255):
        raise Problem(f"input {tensor.name!r}: its data must be whole numbers from 0 to 255")
    return values.astype(np.uint8)


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise Problem("encoded pictures go into JSON as base64") from None


def _split(raw: memoryview) -> list[bytes]:
    found = []
    while raw:
        length = _LENGTH.unpack(raw[: _LENGTH.size])[0] if len(raw) >= _LENGTH.size else len(raw)
        end = _LENGTH.size + length
        if end > len(raw):
            raise Problem("a picture's length reaches past the end of the body")
        found.append(bytes(raw[_LENGTH.size : end]))
        raw = raw[end:]
    return found
