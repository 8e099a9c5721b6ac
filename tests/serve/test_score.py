"""``/score``: the HTTP extension contract of Azure Video Analyzer, held against its schema."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
from serving import Live, encoded, noise, serving

from serve.settings import Limits, ModelSettings

CONTRACT = json.loads((Path(__file__).parent / "azure_inferences.schema.json").read_text())
CHECK = jsonschema.Draft7Validator(CONTRACT)


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serving(limits=Limits(decoders=1)) as running:
        yield running


def inferences(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    CHECK.validate(answer.json())
    items: list[dict[str, Any]] = answer.json()["inferences"]
    return items


@pytest.mark.parametrize(("kind", "mime"), [("PNG", "png"), ("JPEG", "jpeg"), ("BMP", "bmp")])
def test_score_answers_classifications(live: Live, kind: str, mime: str) -> None:
    items = inferences(live.post("/score?top=3", encoded(noise(), kind), f"image/{mime}"))
    assert [item["type"] for item in items] == ["classification"] * 3
    tags = [item["classification"]["tag"] for item in items]
    assert all(tag.keys() == {"value", "confidence"} and 0 <= tag["confidence"] <= 1 for tag in tags)
    assert items[0]["extensions"]["fingerprint"] == live.service.fingerprint


@pytest.mark.parametrize("layout", ["rgb24", "bgr24", "rgba", "bgra"])
def test_score_takes_raw_pictures(live: Live, layout: str) -> None:
    pixels = noise() if layout.startswith("rgb") else noise()[..., ::-1]
    if layout.endswith("a"):
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 7, np.uint8)])
    path = f"/score?width=120&height=90&pixelFormat={layout}"
    raw = live.post(path, np.ascontiguousarray(pixels).tobytes(), "image/x-raw")
    assert inferences(raw) == inferences(live.post("/score", encoded(noise())))


def test_score_takes_yuv(live: Live) -> None:
    for width, height in ((120, 90), (121, 91)):
        half = ((width + 1) // 2) * ((height + 1) // 2)
        body = bytes([200]) * (width * height) + bytes([128]) * (2 * half)
        path = f"/score?width={width}&height={height}&pixelFormat=yuv420p"
        grey = np.full((height, width, 3), round((200 - 16) * 255 / 219), np.uint8)
        raw, still = (
            inferences(answer)[0]
            for answer in (live.post(path, body, "image/x-raw"), live.post("/score", encoded(grey)))
        )
        assert raw["classification"]["tag"]["value"] == still["classification"]["tag"]["value"]


def test_score_has_no_content_where_nothing_is_confident(live: Live) -> None:
    answer = live.post("/score?confidence=0.9", encoded(noise()))
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("path", "body", "kind", "status"),
    [
        pytest.param("/score", b"nope", "image/jpeg", 400, id="undecodable"),
        pytest.param("/score", b"", "image/jpeg", 400, id="empty"),
        pytest.param("/score", b"x", "video/mp4", 415, id="a video"),
        pytest.param("/score", b"xxx", "image/x-raw", 400, id="raw without a size"),
        pytest.param("/score?width=2&height=2&pixelFormat=rgb24", b"xxx", "image/x-raw", 400, id="raw too short"),
        pytest.param("/score?width=2&height=2&pixelFormat=nv12", b"xxx", "image/x-raw", 400, id="unknown layout"),
        pytest.param("/score?width=99999&height=99999&pixelFormat=rgb24", b"x", "image/x-raw", 413, id="too large"),
        pytest.param("/score?confidence=2", b"x", "image/png", 400, id="bad confidence"),
    ],
)
def test_score_refuses(live: Live, path: str, body: bytes, kind: str, status: int) -> None:
    answer = live.post(path, body, kind)
    assert answer.status_code == status
    assert answer.json()["error"]["code"]


def test_score_of_a_model_without_classes_carries_the_feature() -> None:
    with serving(model=ModelSettings(name="squeezenet1_1", weights="random:0", num_threads=1)) as plain:
        [item] = inferences(plain.post("/score", encoded(noise())))
        feature = np.frombuffer(base64.b64decode(item["other"]["contentBytes"]), "<f4")
        [sample] = plain.post("/v1/embed", encoded(noise())).json()["samples"]
        assert np.allclose(feature, sample["feature"], atol=1e-6)
        assert plain.post("/v1/classify", encoded(noise())).status_code == 404


CLASS = {"tag": {"value": "a cat", "confidence": 0.5}}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="no inferences"),
        pytest.param({"inferences": []}, id="an empty list"),
        pytest.param({"inferences": [{"type": "classification"}]}, id="no body"),
        pytest.param({"inferences": [{"type": "other", "classification": CLASS}]}, id="another type's body"),
        pytest.param({"inferences": [{"type": "classification", "classification": CLASS, "other": {}}]}, id="two"),
        pytest.param({"inferences": [{"type": "other", "other": None}]}, id="null"),
        pytest.param(
            {"inferences": [{"type": "classification", "classification": {"tag": {"value": "a", "confidence": 1.01}}}]},
            id="more than certain",
        ),
    ],
)
def test_schema_refuses_what_the_contract_does_not_allow(answer: dict[str, Any]) -> None:
    assert not CHECK.is_valid(answer)
