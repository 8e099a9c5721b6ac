"""Tensors of the Open Inference Protocol: pictures in, features and probabilities out.

All of it runs in a thread beside the event loop. Each call into C is short, so that the loop gets its turns.
"""

import base64
import binascii
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.models.batching import Features
from serve.problems import Problem
from serve.protocols.kserve.requests import InferRequest, InputTensor, RequestedOutput
from serve.web.replies import encoded_numbers, to_json

_LENGTH = struct.Struct("<I")
_PIECE_BYTES = 1 << 16
_BASE64_PIECE = 1 << 20
"""Characters of base64; four of them are three bytes."""
_BRACKETS_AND_SPACES = b"[] \t\r\n"
_BYTES_OF_JSON = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=255)]])
_FLOATS_OF_JSON = msgspec.json.Decoder(list[float])
_TEXTS_OF_JSON = msgspec.json.Decoder(list[str])

Number = TypeVar("Number", np.uint8, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTensor:
    """An output, with its numbers in the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: orjson.Fragment


@dataclass(frozen=True, slots=True, kw_only=True)
class BinarySize:
    """The parameters of an output whose numbers lie behind the JSON."""

    binary_data_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryOutputTensor:
    """An output, with its numbers behind the JSON."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: BinarySize


def pixels(tensor: InputTensor, binary: memoryview, *, crop_px: tuple[int, int]) -> NDArray[np.uint8]:
    """Model inputs ``uint8[n, H, W, 3]``.

    Raises:
        Problem: another type or shape, or not as many numbers as the shape says.
    """
    _require_type(tensor, "UINT8")
    shape = tuple(tensor.shape)
    if len(shape) != 4 or shape[0] < 1 or shape[1:] != (*crop_px, 3):
        raise Problem(f"input {tensor.name!r} must have the shape {[-1, *crop_px, 3]}, not {tensor.shape}")
    count = math.prod(shape)
    raw = _raw(tensor, binary)
    values = np.frombuffer(raw, np.uint8) if raw is not None else _numbers(tensor, count=count)
    if values.size != count:
        raise _wrong_count(tensor, count=count)
    return values.reshape(shape)


def features(tensor: InputTensor, binary: memoryview, *, dim: int) -> Features:
    """Features ``float32[n, D]``.

    Raises:
        Problem: another type or shape, not as many numbers as the shape says, or one that is not finite.
    """
    _require_type(tensor, "FP32")
    shape = tuple(tensor.shape)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != dim:
        raise Problem(f"input {tensor.name!r} must have the shape {[-1, dim]}, not {tensor.shape}")
    raw = _raw(tensor, binary)
    if raw is not None and len(raw) != 4 * math.prod(shape):
        raise _wrong_count(tensor, count=math.prod(shape))
    values = np.frombuffer(raw, "<f4") if raw is not None else _floats(tensor, count=math.prod(shape))
    if values.size != math.prod(shape):
        raise _wrong_count(tensor, count=math.prod(shape))
    if not np.isfinite(values).all():
        raise Problem(f"input {tensor.name!r}: its data must be finite numbers")
    return values.astype(np.float32, copy=False).reshape(shape)


def encoded_pictures(tensor: InputTensor, binary: memoryview) -> list[bytes]:
    """Encoded pictures: in JSON as base64, in binary data each behind its length.

    Raises:
        Problem: it is not that, or not as many as the shape says.
    """
    _require_type(tensor, "BYTES")
    if len(tensor.shape) != 1:
        raise Problem(f"input {tensor.name!r} must have the shape [-1], not {tensor.shape}")
    raw = _raw(tensor, binary)
    return _texts(tensor, count=tensor.shape[0]) if raw is None else _split(tensor, raw, count=tensor.shape[0])


class Outputs:
    """The outputs of one answer: tensors for the JSON, and the bytes that go behind it."""

    def __init__(self, request: InferRequest, *, offered: tuple[str, ...]) -> None:
        """Read which outputs are wanted, and in which form.

        Raises:
            Problem: one is not ``offered``.
        """
        wanted = request.outputs or [RequestedOutput(name=name) for name in offered]
        by_default = request.parameters.binary_data_output
        self._is_binary = {
            output.name: by_default if output.parameters.binary_data is None else output.parameters.binary_data
            for output in wanted
        }
        unknown = self._is_binary.keys() - set(offered)
        if unknown:
            raise Problem(f"unknown output {min(unknown)!r}: there is {' and '.join(offered)}")
        self.names = tuple(self._is_binary)
        self.tensors: list[OutputTensor | BinaryOutputTensor] = []
        self.binary: list[bytes] = []

    def add(self, name: str, values: Features | Sequence[str]) -> None:
        """Add an output, ``float32[n, m]`` or n texts."""
        if isinstance(values, np.ndarray):
            datatype, shape = "FP32", values.shape
        else:
            datatype, shape = "BYTES", (len(values),)
        if self._is_binary[name]:
            content = values.astype("<f4", copy=False).tobytes() if isinstance(values, np.ndarray) else _joined(values)
            self.binary.append(content)
            size = BinarySize(binary_data_size=len(content))
            self.tensors.append(BinaryOutputTensor(name=name, datatype=datatype, shape=shape, parameters=size))
            return
        data = encoded_numbers(values) if isinstance(values, np.ndarray) else orjson.Fragment(to_json(values))
        self.tensors.append(OutputTensor(name=name, datatype=datatype, shape=shape, data=data))


def _joined(texts: Sequence[str]) -> bytes:
    """Each text behind its length."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return b"".join(_LENGTH.pack(len(text)) + text for text in encoded)


def _require_type(tensor: InputTensor, datatype: str) -> None:
    if tensor.datatype != datatype:
        raise Problem(f"input {tensor.name!r} must be {datatype}, not {tensor.datatype}")


def _raw(tensor: InputTensor, binary: memoryview) -> memoryview | None:
    """The tensor's bytes, all of what lies behind the JSON; ``None``: it is in the JSON."""
    size = tensor.parameters.binary_data_size
    if size is None:
        if not tensor.has_data or len(binary):
            raise Problem(f"input {tensor.name!r} must have either data or binary_data_size")
        return None
    if tensor.has_data or size != len(binary):
        raise Problem(f"input {tensor.name!r}: binary_data_size is {size}, and {len(binary)} bytes follow")
    return binary


def _numbers(tensor: InputTensor, *, count: int) -> NDArray[np.uint8]:
    wanted = "whole numbers from 0 to 255"
    return _read_pieces(tensor, np.empty(count, np.uint8), decoder=_BYTES_OF_JSON, wanted=wanted)


def _floats(tensor: InputTensor, *, count: int) -> Features:
    return _read_pieces(tensor, np.empty(count, np.float32), decoder=_FLOATS_OF_JSON, wanted="numbers")


def _read_pieces(
    tensor: InputTensor,
    values: NDArray[Number],
    *,
    decoder: "msgspec.json.Decoder[list[int]] | msgspec.json.Decoder[list[float]]",
    wanted: str,
) -> NDArray[Number]:
    """The numbers of nested lists, row by row, which is their order in the JSON whatever the nesting."""
    num_read = 0
    for piece in _pieces(bytes(tensor.data)):
        try:
            numbers = decoder.decode(b"[" + piece.translate(None, _BRACKETS_AND_SPACES) + b"]")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise Problem(f"input {tensor.name!r}: its data must be {wanted}") from None
        if num_read + len(numbers) > len(values):
            raise _wrong_count(tensor, count=len(values))
        with np.errstate(over="ignore"):  # too large a number becomes infinite, which the caller refuses
            values[num_read : num_read + len(numbers)] = numbers
        num_read += len(numbers)
    return values[:num_read]


def _pieces(text: bytes) -> Iterator[bytes]:
    """Cut the text of a JSON list at commas."""
    start = 0
    while start < len(text):
        end = text.find(b",", start + _PIECE_BYTES)
        end = len(text) if end < 0 else end
        yield text[start:end]
        start = end + 1


def _wrong_count(tensor: InputTensor, *, count: int) -> Problem:
    return Problem(f"input {tensor.name!r} must have the {count} numbers that its shape asks for")


def _texts(tensor: InputTensor, *, count: int) -> list[bytes]:
    text = bytes(tensor.data)
    if text.count(b'"') != 2 * count:  # before a million of short strings is made; base64 holds no quotes
        raise _wrong_number_of_pictures(tensor)
    try:
        return [_decoded(picture) for picture in _TEXTS_OF_JSON.decode(text)]
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError):
        raise Problem("encoded pictures go into JSON as base64") from None


def _decoded(text: str) -> bytes:
    starts = range(0, len(text), _BASE64_PIECE)
    if "=" in text[:-2]:
        raise ValueError("padding before the end")
    return b"".join(base64.b64decode(text[start : start + _BASE64_PIECE], validate=True) for start in starts)


def _split(tensor: InputTensor, raw: memoryview, *, count: int) -> list[bytes]:
    pictures: list[bytes] = []
    while raw:
        length = _LENGTH.unpack(raw[: _LENGTH.size])[0] if len(raw) >= _LENGTH.size else len(raw)
        end = _LENGTH.size + length
        if end > len(raw):
            raise Problem("a picture's length reaches past the end of the body")
        if len(pictures) == count:
            raise _wrong_number_of_pictures(tensor)
        pictures.append(bytes(raw[_LENGTH.size : end]))
        raw = raw[end:]
    if len(pictures) != count:
        raise _wrong_number_of_pictures(tensor)
    return pictures


def _wrong_number_of_pictures(tensor: InputTensor) -> Problem:
    return Problem(f"input {tensor.name!r} must hold as many pictures as its shape {tensor.shape} says")
