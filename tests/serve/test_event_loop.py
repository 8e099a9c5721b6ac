"""The event loop belongs to everybody: while one request's body is read, the others are answered."""

import threading
import time
from collections.abc import Iterator

import httpx
import numpy as np
import orjson
import pytest
from patience import PATIENCE_S
from serving import Live, serving

from serve.settings import Limits

INFER = "/v2/models/video_cnn/infer"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(limits=Limits(decoders=1, max_seconds=300)) as running:
        yield running


def request(data: object) -> bytes:
    """Wrong at its end alone, by one picture too few: what it takes is reading it, and not the model."""
    tensor = {"name": "pixels", "shape": [41, 128, 128, 3], "datatype": "UINT8", "data": data}
    return orjson.dumps({"inputs": [tensor]})


@pytest.mark.parametrize("is_nested", [True, False], ids=["nested lists of 8 MB", "a flat list"])
def test_healthz_is_answered_while_a_large_body_is_read(live: Live, is_nested: bool) -> None:
    numbers = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 3))
    body = request(numbers.tolist() if is_nested else numbers.reshape(-1).tolist())
    assert any(is_answered_meanwhile(live, body) for _ in range(3)), "once is enough: other tests are at work beside it"


def is_answered_meanwhile(live: Live, body: bytes) -> bool:
    """Whether no answer takes as long as half of the reading."""
    answers: list[httpx.Response] = []

    def post() -> None:
        answers.append(live.post(INFER, body, "application/json"))

    began = time.monotonic()
    posting = threading.Thread(target=post)
    posting.start()
    waits = []
    with httpx.Client() as client:
        while posting.is_alive():
            sent_at = time.monotonic()
            assert client.get(f"{live.url}/healthz", timeout=PATIENCE_S).status_code == 200
            waits.append(time.monotonic() - sent_at)
    took = time.monotonic() - began

    assert answers[0].status_code == 400
    assert waits
    return max(waits) < max(took / 2, 0.2)
