"""Answers in JSON, by a fast encoder since a feature is a thousand numbers, or in Arrow.

While an encoder works no other thread runs. So answers that may be large are encoded in pieces, in a thread.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
_PIECE = 1 << 14
"""Numbers that are encoded at once: half a millisecond."""


def wants_arrow(request: Request) -> bool:
    """Whether the client asks for Arrow."""
    return ARROW in request.headers.get("accept", "").lower()


def json_reply(document: object, *, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(to_json(document), status_code=status, media_type=JSON)


def to_json(document: object) -> bytes:
    """Encode dataclasses, lists, dicts and arrays; ``float32`` in the fewest digits that read back as the same."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def encoded_apart(items: Iterable[object]) -> list[orjson.Fragment]:
    """Encode each item of a long list by itself; ``to_json`` takes the result in place of the list."""
    return [orjson.Fragment(to_json(item)) for item in items]


def encoded_numbers(values: NDArray[np.number[Any]]) -> orjson.Fragment:
    """Encode a long array piece by piece as one flat JSON list; ``to_json`` takes the result in its place."""
    flat = np.ascontiguousarray(values).reshape(-1)
    pieces = (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))
    return orjson.Fragment(b"[" + b",".join(to_json(piece)[1:-1] for piece in pieces) + b"]")


def arrow_reply(columns: Mapping[str, pa.Array], *, about: Mapping[str, str]) -> Response:
    """Columns as an Arrow IPC stream; ``about`` becomes the schema's metadata."""
    table = pa.table(dict(columns)).replace_schema_metadata(about)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW)
