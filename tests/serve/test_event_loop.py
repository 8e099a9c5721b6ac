"""The event loop belongs to everybody: while one request's body is read, the others are answered."""

import base64
import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import orjson
import pytest
from serving import Live, serving

from serve.settings import Limits

INFER = "/v2/models/video_cnn/infer"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(limits=Limits(decoders=1, max_seconds=300)) as running:
        yield running


def request(name: str, data: object, *, count: int) -> bytes:
    is_image = name == "image"
    shape = [count] if is_image else [count, 128, 128, 3]
    tensor = {"name": name, "shape": shape, "datatype": "BYTES" if is_image else "UINT8", "data": data}
    return orjson.dumps({"inputs": [tensor]})


NUMBERS = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(request("pixels", NUMBERS.tolist(), count=41), id="nested lists of 8 MB"),
        pytest.param(request("pixels", NUMBERS.reshape(-1).tolist(), count=41), id="a flat list"),
        pytest.param(
            request("image", [base64.b64encode(bytes(9_000_000)).decode(), "AAA"], count=2), id="base64 of 12 MB"
        ),
    ],
)
def test_healthz_is_answered_while_a_large_body_is_read(live: Live, body: bytes) -> None:
    """Each body is wrong at its end alone: what it takes is reading it, and not the model."""
    answers: list[httpx.Response] = []

    def post() -> None:
        answers.append(live.post(INFER, body, "application/json"))

    began = time.monotonic()
    posting = threading.Thread(target=post)
    posting.start()
    waits = []
    with httpx.Client() as client:
        while posting.is_alive():
            asked = time.monotonic()
            assert client.get(f"{live.url}/healthz", timeout=60).status_code == 200
            waits.append(time.monotonic() - asked)
    took = time.monotonic() - began

    assert answers[0].status_code == 400
    assert len(waits) > 3
    assert max(waits) < max(took / 2, 0.2)
