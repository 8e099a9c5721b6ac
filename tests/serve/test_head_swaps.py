"""Another version takes a head's place while requests are answered: nobody waits, fails, or hears two versions."""

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from heads import backbone
from numpy.typing import NDArray
from patience import PATIENCE_S
from served_heads import put, said, use
from serving import KEY, Live, encoded, noise, serving

from serve.settings import Access, HeadSettings, Limits

ADMIN = "an-admin-key-of-some-length"
PICTURE = encoded(noise())
PATH = "/v1/classify?head=frame"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path, "frame")
    put(tmp_path, "frame", seed=1, is_in_use=False)
    put(tmp_path, "frame", backbones=[backbone()], is_in_use=False)
    return tmp_path


@pytest.fixture
def live(folder: Path) -> Iterator[Live]:
    with serving(heads=HeadSettings(folder=str(folder)), limits=Limits(decoders=1)) as running:
        yield running


@pytest.fixture
def guarded(folder: Path) -> Iterator[Live]:
    with serving(heads=HeadSettings(folder=str(folder)), access=Access(), keys=(KEY,), admin_keys=(ADMIN,)) as running:
        yield running


def choose(live: Live, version: object, *, name: str = "frame", key: str | None = ADMIN) -> httpx.Response:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.post(f"{live.url}/v1/heads/{name}/use", json={"version": version}, headers=headers, timeout=PATIENCE_S)


def probabilities(live: Live, features: NDArray[np.float32]) -> NDArray[np.float32]:
    [row] = live.service.heads.head("frame").head.frames(features)
    return np.asarray(row)


def test_every_answer_is_one_versions_own_while_versions_change(live: Live, folder: Path) -> None:
    [sample] = live.post("/v1/embed", PICTURE).json()["samples"]
    features = np.array([sample["feature"]], np.float32)
    expected = {}
    for version in (2, 1):
        use(folder, "frame", version)
        live.service.heads.look()
        expected[version] = probabilities(live, features)
    assert np.abs(expected[1] - expected[2]).max() > 1e-3
    stop, wrong, versions = threading.Event(), [], []

    def ask() -> None:
        with httpx.Client(timeout=PATIENCE_S) as client:
            while not stop.is_set():
                answer = client.post(f"{live.url}{PATH}", content=PICTURE, headers={"content-type": "image/png"})
                body = answer.json()
                version = body.get("version")
                is_right = answer.status_code == 200 and answer.headers["x-vidlake-head"] == f"frame@{version}"
                if not is_right or np.abs(said(body["units"][0]["labels"]) - expected[version]).max() > 1e-5:
                    wrong.append(answer.text)
                versions.append(version)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(ask)
        try:
            for turn in range(20):
                use(folder, "frame", 2 - turn % 2)
                live.service.heads.look()
                time.sleep(0.05)
        finally:
            stop.set()
    assert wrong == []
    assert set(versions) == {1, 2}


def test_version_that_was_chosen_in_the_folder_answers_within_seconds(live: Live, folder: Path) -> None:
    assert live.post(PATH, PICTURE).json()["version"] == 1
    use(folder, "frame", 2)
    deadline = time.monotonic() + 30
    while live.post(PATH, PICTURE).json()["version"] != 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_admin_chooses_a_version(guarded: Live, folder: Path) -> None:
    answer = choose(guarded, 2)
    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["version"], answer.json()["state"]) == ("frame", 2, "ready")
    assert answer.headers["x-vidlake-head"] == "frame@2"
    assert (folder / "frame" / "current").read_text().strip() == "2"
    asked = guarded.post(PATH, PICTURE, authorization=f"Bearer {ADMIN}")
    assert asked.json()["version"] == 2, "at once; and an admin key is an API key too"


@pytest.mark.parametrize(
    ("version", "name", "key", "status"),
    [
        pytest.param(2, "frame", None, 401, id="no key"),
        pytest.param(2, "frame", "a-key-that-nobody-knows", 401, id="an unknown key"),
        pytest.param(2, "frame", KEY, 403, id="an API key"),
        pytest.param(2, "nobody", ADMIN, 404, id="no such head"),
        pytest.param(9, "frame", ADMIN, 404, id="no such version"),
        pytest.param(3, "frame", ADMIN, 409, id="of another model"),
        pytest.param(0, "frame", ADMIN, 400, id="no version"),
        pytest.param("two", "frame", ADMIN, 400, id="no number"),
    ],
)
@pytest.mark.quick_one_in(3)
def test_choice_that_is_refused_changes_nothing(
    folder: Path, *, guarded: Live, version: object, name: str, key: str | None, status: int
) -> None:
    answer = choose(guarded, version, name=name, key=key)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert (folder / "frame" / "current").read_text().strip() == "1"
    assert guarded.service.heads.head("frame").version == 1


def test_nobody_chooses_where_no_admin_key_is_known(live: Live) -> None:
    assert choose(live, 2, key=None).status_code == 401
    assert choose(live, 2, key="whatever-it-may-be").status_code == 403


def test_head_that_does_not_answer_says_why(live: Live, folder: Path) -> None:
    put(folder, "broken")
    use(folder, "broken", 8)
    live.service.heads.look()
    for path in ("/v1/classify?head=broken", "/score?head=broken"):
        answer = live.post(path, PICTURE)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
        assert "version 8" in answer.json()["error"]["message"]
    assert live.get("/v2/models/broken/ready").status_code == 409
    listed = httpx.post(f"{live.url}/v2/repository/index", timeout=PATIENCE_S).json()
    [broken] = [model for model in listed if model["name"] == "broken"]
    assert broken["state"] == "UNAVAILABLE"
    assert "version 8" in broken["reason"]
    [model] = live.get("/v1/models").json()["models"]
    assert model["heads"] == ["frame"]
