"""How a server starts and stops, and which model it starts with."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pyarrow.dataset as pads
import pytest
from commanded import MODEL, refused, running
from conftest import ClipFactory
from patience import PATIENCE_S
from served_heads import put, use
from serving import KEY, encoded, noise, serving

from serve.settings import Limits


@pytest.mark.slow
def test_stop_finishes_what_is_running_and_is_unready_meanwhile(clips: ClipFactory) -> None:
    body = clips(num_frames=600, width=640, height=480, gop=50).read_bytes()
    with running(*MODEL, "--decoders", 1, "--max-seconds", PATIENCE_S) as leaving:
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(leaving.post("/v1/embed?sample=fps:15", body, "video/mp4"))

        threads = [threading.Thread(target=ask) for _ in range(3)]  # one after the other, for there is one decoder
        for thread in threads:
            thread.start()
        time.sleep(1)
        leaving.process.send_signal(signal.SIGINT)
        seen = set()
        while any(thread.is_alive() for thread in threads):
            try:
                seen.add(httpx.get(f"{leaving.url}/readyz", timeout=5).status_code)
            except httpx.TransportError:
                break
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [len(answer.json()["samples"]) for answer in answers] == [360, 360, 360]
        assert 503 in seen
        assert leaving.process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("moment_s", [0.0, 0.1, 0.3])
def test_server_that_stops_at_once_leaves_no_decoder_behind(clips: ClipFactory, moment_s: float) -> None:
    """Whatever its decoders are doing: starting, or at a video whose client was told that time is up."""
    me = psutil.Process()
    before = set(me.children())
    with serving(limits=Limits(max_seconds=0.05, decoders=1)) as live:
        live.post("/v1/embed?sample=all", clips(num_frames=250).read_bytes(), "video/mp4")
        time.sleep(moment_s)
    deadline = time.monotonic() + PATIENCE_S
    while (left := set(me.children()) - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_signal_while_the_server_starts_ends_it_at_once(number: int, status: int, word: str) -> None:
    starting = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "serve", *MODEL],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = psutil.Process(starting.pid)
    while not children.children():  # Ray's first process: by now the server has handlers of its own
        time.sleep(0.05)
    starting.send_signal(number)
    _, said = starting.communicate(timeout=60)
    assert (starting.returncode, said) == (status, f"vidlake: {word}\n")


@pytest.mark.slow
def test_dataset_is_served_by_its_own_model_and_no_other(clips: ClipFactory, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    arguments = ["extract", clips(), "--out", lake, "--model", "video_cnn", "--weights", "random:3"]
    subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)], check=True, capture_output=True, timeout=PATIENCE_S
    )
    rows = pads.dataset(lake / "features").to_table().sort_by("pts")
    with running("--from", lake, env={"VIDLAKE_API_KEYS": KEY}) as server:
        assert server.post("/v1/embed", b"").status_code == 401
        answer = server.post("/v1/embed", clips().read_bytes(), "video/mp4", authorization=f"Bearer {KEY}").json()
        live = np.array([sample["feature"] for sample in answer["samples"]], np.float32)
        assert np.abs(live - np.array(rows["feature"].to_pylist(), np.float32)).max() <= 1e-5
    assert "digest" in refused("--from", lake, "--weights", "random:4")


@pytest.mark.slow
def test_server_of_heads_serves_their_model_and_takes_another_version(tmp_path: Path) -> None:
    """The replica is another process, with another working folder and the environment of the command."""
    put(tmp_path, "people")
    put(tmp_path, "people", seed=1, is_in_use=False)
    keys = {"VIDLAKE_ADMIN_KEYS": KEY}
    bearer = {"authorization": f"Bearer {KEY}"}
    with running("--heads", os.path.relpath(tmp_path), "--default-head", "people", "--decoders", 1, env=keys) as server:
        assert f"{server.url}/v1/heads" in "".join(server.said)

        def version() -> int:
            answer = server.post("/v1/classify?head=people", encoded(noise()), **bearer)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-vidlake-head"] == f"people@{answer.json()['version']}"
            return int(answer.json()["version"])

        [model] = httpx.get(f"{server.url}/v1/models", headers=bearer, timeout=PATIENCE_S).json()["models"]
        assert (model["name"], model["precision"], model["heads"]) == ("video_cnn", "fp32", ["people"])
        assert version() == 1
        url = f"{server.url}/v1/heads/people/use"
        assert httpx.post(url, json={"version": 2}, timeout=PATIENCE_S).status_code == 401
        assert httpx.post(url, json={"version": 2}, headers=bearer, timeout=PATIENCE_S).status_code == 200
        assert version() == 2
        use(tmp_path, "people", 1)
        deadline = time.monotonic() + 30
        while version() != 1:
            assert time.monotonic() < deadline, "the folder is looked at every 2 s"
            time.sleep(0.1)
        tag = server.post("/score", encoded(noise()), **bearer).json()["inferences"][0]
        assert tag["subtype"] == "people"
