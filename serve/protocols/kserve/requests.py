"""An inference request of the Open Inference Protocol: its JSON, and the binary data behind it.

A parser lets no other thread run until it is done, and nested lists of numbers take it a second for 8 MB. So a tensor's
data is passed over here, and read in small pieces afterwards (``tensors.py``). Unknown parameters are passed over too.
"""

from typing import Annotated

import msgspec

from serve.problems import Problem

HEADER_LENGTH = "Inference-Header-Content-Length"
_MOST_DIMENSIONS = 8


class InputParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of an input."""

    binary_data_size: int | None = None
    """Bytes behind the JSON; ``None``: the tensor is in ``data``."""


class InputTensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input: ``data`` flat or nested, or ``binary_data_size`` bytes behind the JSON."""

    name: str
    shape: Annotated[list[int], msgspec.Meta(max_length=_MOST_DIMENSIONS)]
    datatype: str
    parameters: InputParameters = InputParameters()
    data: Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array"})] = msgspec.field(
        default_factory=msgspec.Raw
    )
    """A JSON list that is not parsed yet; empty: the request has none."""

    @property
    def has_data(self) -> bool:
        """Whether the tensor is in the JSON."""
        return bytes(memoryview(self.data)[:5]) not in (b"", b"null")


class OutputParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of an output."""

    binary_data: bool | None = None
    """Whether the output goes behind the JSON; ``None``: as the request's ``binary_data_output`` says."""


class RequestedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output that is wanted."""

    name: str
    parameters: OutputParameters = OutputParameters()


class RequestParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a request."""

    binary_data_output: bool = False


class InferRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON of a request."""

    id: str | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: Annotated[list[InputTensor], msgspec.Meta(min_length=1)]
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
        request = msgspec.json.decode(memoryview(body)[:num_bytes], type=InferRequest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(f"the request does not fit: {error}") from None
    return request, memoryview(body)[num_bytes:]


def request_schema() -> dict[str, object]:
    """The JSON schema of a request, without references, as ``/openapi.json`` wants it."""
    schema = msgspec.json.schema(InferRequest)
    definitions = schema.pop("$defs")

    def inlined(part: object) -> object:
        if isinstance(part, list):
            return [inlined(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inlined(definitions[part["$ref"].rpartition("/")[2]])
        return {key: inlined(value) for key, value in part.items()}

    return {"allOf": [inlined(schema)]}
