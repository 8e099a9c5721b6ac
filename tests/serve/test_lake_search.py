"""``/v1/search`` and ``/v1/embeddings``: a lake asked by picture, video, moment and words, behind the same guard."""

import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from conftest import ClipFactory
from patience import PATIENCE_S
from real_lakes import real_lake
from serving import KEY, Live, encoded, noise, serving


@dataclass(frozen=True, slots=True)
class Asked:
    """A server with a lake of two clips, and the frame that is the first sample of one."""

    live: Live
    lake: Path
    clip: Path
    frame: bytes


@pytest.fixture(scope="module")
def asked(clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("asked")
    (folder / "in").mkdir()
    for seed, name in enumerate(("one.mp4", "two.mp4")):
        shutil.copy(clips(num_frames=90, seed=seed), folder / "in" / name)
    real_lake(folder / "lake", [folder / "in"])
    with av.open(str(folder / "in/two.mp4")) as container:
        frame = encoded(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8))
    with serving(lake=str(folder / "lake")) as live:
        yield Asked(live, folder / "lake", folder / "in/two.mp4", frame)


def answer(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def ask(live: Live, **body: object) -> httpx.Response:
    return httpx.post(f"{live.url}/v1/search", json=body, timeout=PATIENCE_S)


def test_a_frame_finds_its_own_row(asked: Asked) -> None:
    found = answer(asked.live.post("/v1/search?top=1", asked.frame))
    [moment] = found["moments"]
    assert moment["uri"].endswith("two.mp4")
    assert (moment["best_s"], moment["same_picture"]) == (0.0, True)
    assert moment["score"] >= 1 - 1e-5
    assert found["indexed"] == found["absent"] == 0
    assert found["scanned"] > 0


def test_a_form_answers_as_the_body_itself_does(asked: Asked) -> None:
    form = httpx.post(
        f"{asked.live.url}/v1/search", files={"file": ("a.png", asked.frame, "image/png")}, timeout=PATIENCE_S
    )
    assert answer(form) == answer(asked.live.post("/v1/search", asked.frame))


def test_rows_may_be_asked_for(asked: Asked) -> None:
    found = answer(asked.live.post("/v1/search?rows=true&top=2", asked.frame))
    assert [row["same_picture"] for row in found["rows"]] == [True, False]
    assert "moments" not in found


def test_a_moment_of_the_lake_is_asked_for_by_its_time(asked: Asked) -> None:
    found = answer(ask(asked.live, at="two.mp4@0", top=1))
    assert found["moments"][0]["same_picture"]


def test_words_mean_the_models_classes(asked: Asked) -> None:
    found = answer(ask(asked.live, words="17", top=2))  # this model's classes have no names
    assert found["labels"] == ["17"]
    assert all(0 <= moment["score"] <= 1 for moment in found["moments"])
    assert not any(moment["same_picture"] for moment in found["moments"])


def test_a_video_is_found_from_its_offset_on(asked: Asked) -> None:
    found = answer(asked.live.post("/v1/search", asked.clip.read_bytes(), kind="video/mp4"))
    best = found["moments"][0]
    assert best["uri"].endswith("two.mp4")
    assert (best["start_s"], best["offset_s"]) == (0, 0)
    assert best["matched_s"] == pytest.approx(3.6, abs=0.1)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"words": "17", "at": "two.mp4@0"},
        {"words": "17", "sql": "1=1"},
        {"words": "17", "top": -1},
        {"words": "17", "top": 10_000},
        {"words": "17", "top": "3"},
        {"words": "no such class"},
        {"words": "17", "head": "none"},
        {"at": "two.mp4"},
        {"at": "none.mp4@1"},
        {"at": "two.mp4@nan"},
        {"at": "two.mp4@0", "where": {"no_such": 1}},
        {"at": "two.mp4@0", "where": {"uri = '' or '1'": "1"}},
        {"at": "two.mp4@0", "where": "camera = 'x'"},
        {"at": "two.mp4@0", "since": "yesterday"},
        {"at": "two.mp4@0", "since": "2026-01-02", "until": "2026-01-01"},
        [],
        "words",
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_a_sentence(asked: Asked, body: object) -> None:
    response = httpx.post(f"{asked.live.url}/v1/search", json=body, timeout=PATIENCE_S)
    assert response.status_code in (400, 404)
    assert response.json()["error"]["message"]


def test_values_are_no_sql(asked: Asked) -> None:
    assert answer(ask(asked.live, at="two.mp4@0", where={"uri": "x' or '1'='1"}))["moments"] == []
    assert answer(ask(asked.live, at="two.mp4@0", where={"container": None}))["moments"] == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"not a picture", "image/png", 400),
        (b"{", "application/json", 400),
        (b"", "image/png", 400),
        (b"x", "text/plain", 415),
    ],
)
def test_bodies_that_are_neither_are_refused(asked: Asked, body: bytes, kind: str, status: int) -> None:
    assert asked.live.post("/v1/search", body, kind=kind).status_code == status


def test_a_server_without_a_lake_says_so(asked: Asked) -> None:
    with serving() as live:
        response = ask(live, words="17")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_both_need_a_key_where_there_are_keys(asked: Asked) -> None:
    with serving(lake=str(asked.lake), keys=(KEY,)) as live:
        for path in ("/v1/search", "/v1/embeddings"):
            assert httpx.post(f"{live.url}{path}", json={}, timeout=PATIENCE_S).status_code == 401
        assert live.post("/v1/search", asked.frame, Authorization=f"Bearer {KEY}").status_code == 200


def test_the_openai_client_gets_the_features_of_v1_embed(asked: Asked) -> None:
    import openai

    pictures = [encoded(noise(seed=seed)) for seed in range(2)]
    client = openai.OpenAI(base_url=f"{asked.live.url}/v1", api_key="none", max_retries=0)
    expected = [answer(asked.live.post("/v1/embed", each))["samples"][0]["feature"] for each in pictures]
    uris = ["data:image/png;base64," + base64.b64encode(each).decode() for each in pictures]
    given = client.embeddings.create(model="video_cnn", input=uris)
    assert [each.index for each in given.data] == [0, 1]
    assert np.allclose([each.embedding for each in given.data], expected, atol=1e-5)
    one = client.embeddings.create(model="video_cnn", input=uris[0], encoding_format="float")
    assert np.allclose(one.data[0].embedding, expected[0], atol=1e-5)
    encoded_one = httpx.post(
        f"{asked.live.url}/v1/embeddings",
        json={"model": "video_cnn", "input": uris[0], "encoding_format": "base64", "user": "me"},
        timeout=PATIENCE_S,
    ).json()
    assert np.allclose(
        np.frombuffer(base64.b64decode(encoded_one["data"][0]["embedding"]), "<f4"), expected[0], atol=1e-5
    )
    assert encoded_one["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": "hello"}, 400),
        ({"input": "http://127.0.0.1/a.png"}, 400),
        ({"input": "file:///etc/hostname"}, 400),
        ({"input": "data:image/png;base64,AAAA"}, 400),
        ({"input": "data:image/png;base64,????"}, 400),
        ({"input": "data:image/png;base64,"}, 400),
        ({"input": []}, 400),
        ({"input": ["data:image/png;base64,AAAA"] * 1001}, 400),
        ({"input": [1, 2]}, 400),
        ({"input": "data:image/png;base64,AAAA", "model": "other"}, 404),
        ({"input": "data:image/png;base64,AAAA", "dimensions": 3}, 400),
        ({"input": "data:image/png;base64,AAAA", "encoding_format": "text"}, 400),
        ({}, 400),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_embeddings_take_pictures_alone(asked: Asked, body: dict[str, object], status: int) -> None:
    response = httpx.post(f"{asked.live.url}/v1/embeddings", json={"model": "video_cnn", **body}, timeout=PATIENCE_S)
    assert response.status_code == status
    assert response.json()["error"]["message"]
