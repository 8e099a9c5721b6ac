"""Answers as they go out: JSON by the fastest encoder there is, for a feature is a thousand numbers, or Arrow."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import Response

from pipeline.records.segments import FrameMark, Quarantined
from serve.inference.batching import Features

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"


def wants_arrow(request: Request) -> bool:
    """Whether the client asks for Arrow."""
    return ARROW in request.headers.get("accept", "").lower()


def json_reply(document: Any, *, status: int = 200) -> Response:
    """A JSON answer; arrays of ``float32`` come out in the fewest digits that read back as the same numbers."""
    return Response(to_json(document), status_code=status, media_type=JSON)


def to_json(document: Any) -> bytes:
    """The same, as bytes."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def arrow_reply(marks: Sequence[FrameMark], columns: dict[str, pa.Array], *, about: dict[str, str]) -> Response:
    """``pts``, ``time_s`` and further columns as an Arrow IPC stream; ``about`` becomes the schema's metadata."""
    times = {
        "pts": pa.array([mark.pts for mark in marks], pa.int64()),
        "time_s": pa.array([mark.time_s for mark in marks], pa.float64()),
    }
    table = pa.table({**times, **columns}).replace_schema_metadata(about)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW)


def feature_column(features: Features) -> pa.Array:
    """``fixed_size_list<float>[D]``, as in a dataset."""
    flat = pa.array(np.ascontiguousarray(features).reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, features.shape[1])


def missing_documents(missing: Sequence[Quarantined]) -> list[dict[str, Any]]:
    """What of a damaged video is not among the samples, and why."""
    return [
        {
            "start_s": lost.missing_start_s,
            "end_s": lost.missing_end_s,
            "code": lost.reason,
            "message": lost.detail,
        }
        for lost in missing
    ]
