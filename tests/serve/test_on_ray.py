"""``vidlake serve``, the command, with Ray Serve under it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import orjson
import psutil
import pyarrow.dataset as pads
import pytest
import websockets
import yaml
from conftest import ClipFactory
from ray.serve.schema import ServeDeploySchema
from serving import KEY, encoded, noise

from serve.app import build
from serve.settings import Settings

MODEL = ["--model", "video_cnn", "--weights", "random:0"]


class Server:
    """One ``vidlake serve``."""

    def __init__(self, process: "subprocess.Popen[str]", url: str, said: list[str]) -> None:
        self.process = process
        self.url = url
        self.said = said

    def post(self, path: str, body: bytes, kind: str = "image/png", **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", content=body, headers={"content-type": kind, **headers}, timeout=60)

    def replica(self) -> psutil.Process:
        """The process that holds the model."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in family if "ServeReplica:vidlake" in " ".join(child.cmdline()))


@contextmanager
def running(*words: object, env: dict[str, str] | None = None) -> Iterator[Server]:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "serve", "--port", str(port), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )
    said: list[str] = []
    try:
        for line in process.stdout or ():
            said.append(line)
            if line.startswith("Ctrl-C"):
                break
        else:
            raise AssertionError("".join(said))
        yield Server(process, f"http://127.0.0.1:{port}", said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            rest, _ = process.communicate(timeout=60)
            said.append(rest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise


def refused(*words: object, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "serve", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        pytest.param(["--host", "0.0.0.0"], "--insecure", id="everywhere without keys"),
        pytest.param(["--api-keys", "none.txt"], "none.txt", id="no key file"),
        pytest.param(["--replicas", "4-2"], "MIN-MAX", id="bad replicas"),
        pytest.param(["--max-body", "lots"], "GiB", id="bad size"),
        pytest.param(["--from", "no-such-lake"], "no dataset", id="no dataset"),
        pytest.param(["--from", "lake", "--precision", "fp16"], "--precision", id="a dataset and a precision"),
        pytest.param(["--allowed-origin", "*"], "--allowed-origin", id="every page"),
        pytest.param(["--live-memory", "some"], "GiB", id="bad memory"),
        pytest.param(["--host", "192.0.2.77", "--insecure"], "cannot listen", id="not our address"),
    ],
)
def test_misuse_is_one_line_that_names_the_word(words: list[str], told: str) -> None:
    assert told in refused(*words)


def test_port_that_is_taken_is_told_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen" in refused("--port", taken.getsockname()[1])


def test_cluster_configuration_is_valid() -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "serve" / "config.yaml").read_text())
    schema = ServeDeploySchema(**document)
    [application] = schema.applications
    assert application.import_path == "serve.app:build"
    settings = Settings.model_validate(application.args)
    assert not settings.access.is_loopback, "on a cluster a replica without keys must refuse to start"
    deployment = cast(Any, build(settings))._bound_deployment
    assert deployment.max_ongoing_requests > settings.limits.queue + settings.limits.sockets
    assert deployment._deployment_config.autoscaling_config.max_replicas == settings.replicas.max


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(*MODEL, "--decoders", 1, "--max-seconds", 30) as found:
        yield found


@pytest.mark.slow
def test_live_equals_batch(server: Server, clips: ClipFactory, tmp_path: Path) -> None:
    clip = clips(num_frames=150, gop=30)
    words = ["extract", clip, "--out", tmp_path / "lake", *MODEL, "--sample", "fps:5"]
    subprocess.run([sys.executable, "-m", "pipeline", *map(str, words)], check=True, capture_output=True, timeout=200)
    rows = pads.dataset(tmp_path / "lake" / "features").to_table().sort_by("pts")
    answer = server.post("/v1/embed?sample=fps:5", clip.read_bytes(), "video/mp4").json()
    batch = np.array(rows["feature"].to_pylist(), np.float32)
    live = np.array([sample["feature"] for sample in answer["samples"]], np.float32)
    assert [sample["pts"] for sample in answer["samples"]] == rows["pts"].to_pylist()
    assert [sample["time_s"] for sample in answer["samples"]] == rows["time_s"].to_pylist()
    assert np.abs(live - batch).max() <= 1e-5 * max(1, np.abs(batch).max())
    assert answer["fingerprint"] == orjson.loads(rows.schema.metadata[b"vidlake"])["fingerprint"]


@pytest.mark.slow
def test_start_says_where_and_how(server: Server) -> None:
    said = "".join(server.said)
    assert f"vidlake serves video_cnn at {server.url}" in said
    assert "curl" in said


@pytest.mark.slow
def test_metrics_come_through_rays_exporter(server: Server) -> None:
    for _ in range(3):
        assert server.post("/v1/embed", encoded(noise())).status_code == 200
    server.post("/v1/embed", b"no picture", "image/png")
    [line] = [line for line in server.said if "metrics" in line]
    wanted = ("vidlake_requests", "vidlake_request_seconds", "vidlake_batch_pictures", "vidlake_decode_failures")
    for _ in range(60):
        shown = httpx.get(line.split()[1], timeout=10).text
        if all(f"ray_{name}" in shown for name in wanted):
            return
        time.sleep(1)
    raise AssertionError([name for name in wanted if f"ray_{name}" not in shown])


@pytest.mark.slow
def test_access_log_is_json_without_bodies_or_queries(server: Server) -> None:
    answer = server.post("/v1/embed?sample=fps:3", encoded(noise()), **{"x-request-id": "mine-7"})
    assert answer.headers.get_list("x-request-id") == ["mine-7"]
    [folder] = [line.split()[1] for line in server.said if "logs" in line]
    for _ in range(50):
        lines = [line for path in Path(folder).glob("replica*.log") for line in path.read_text().splitlines()]
        found = [orjson.loads(line) for line in lines if "mine-7" in line]
        if found:
            break
        time.sleep(0.1)
    assert (found[0]["request_id"], found[0]["endpoint"], found[0]["status"]) == ("mine-7", "/v1/embed", 200)
    assert not any("fps:3" in line for line in lines)


@pytest.mark.slow
def test_sockets_opened_and_dropped_leave_the_server_ready(server: Server) -> None:
    async def storm() -> None:
        url = server.url.replace("http", "ws") + "/v1/live"
        for _ in range(4):
            sockets = await asyncio.gather(*(websockets.connect(url, open_timeout=30) for _ in range(25)))
            for at, opened in enumerate(sockets):
                if at % 2:
                    await opened.send(encoded(noise()))
                opened.transport.abort()

    asyncio.run(storm())
    assert httpx.get(f"{server.url}/readyz", timeout=30).status_code == 200
    assert server.post("/v1/embed", encoded(noise())).status_code == 200


@pytest.mark.slow
def test_cut_off_uploads_and_wrong_lengths_leave_the_server_ready(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"
    for length, body in [("5000", b"short"), ("99999999999", b"x"), ("-4", b"x"), ("abc", b"x"), ("3", b"x" * 900)]:
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(head.format(length).encode() + body)
    slow = socket.create_connection((host, int(port)), timeout=10)
    slow.sendall(head.format("5000").encode())
    assert httpx.get(f"{server.url}/readyz", timeout=30).status_code == 200
    assert server.post("/v1/embed", encoded(noise())).status_code == 200
    slow.close()


@pytest.mark.slow
def test_thousand_requests_leave_the_replicas_memory_level(server: Server) -> None:
    picture, broken = encoded(noise(height=480, width=640), "JPEG"), encoded(noise())[:700]
    replica = server.replica()

    def private_bytes(num_requests: int) -> int:
        with httpx.Client() as client:
            for at in range(num_requests):
                body = broken if at % 10 == 0 else picture
                client.post(f"{server.url}/v1/embed", content=body, headers={"content-type": "image/jpeg"}, timeout=60)
        return int(replica.memory_full_info().uss)

    before = private_bytes(300)
    assert private_bytes(1000) - before < 30_000_000


@pytest.mark.slow
def test_stop_finishes_what_is_running_and_is_unready_meanwhile(clips: ClipFactory) -> None:
    body = clips(num_frames=1500, width=640, height=480, gop=50).read_bytes()
    with running(*MODEL, "--decoders", 1) as leaving:
        answers: list[httpx.Response] = []
        thread = threading.Thread(
            target=lambda: answers.append(leaving.post("/v1/embed?sample=fps:15", body, "video/mp4"))
        )
        thread.start()
        time.sleep(1)
        leaving.process.send_signal(signal.SIGINT)
        seen = set()
        while thread.is_alive():
            try:
                seen.add(httpx.get(f"{leaving.url}/readyz", timeout=5).status_code)
            except httpx.TransportError:
                break
            time.sleep(0.05)
        thread.join()
        assert answers[0].status_code == 200
        assert len(answers[0].json()["samples"]) == 900
        assert 503 in seen
        assert leaving.process.wait(60) == 0


@pytest.mark.slow
def test_dataset_is_served_by_its_own_model_and_no_other(clips: ClipFactory, tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    words = ["extract", clips(), "--out", lake, "--model", "video_cnn", "--weights", "random:3"]
    subprocess.run([sys.executable, "-m", "pipeline", *map(str, words)], check=True, capture_output=True, timeout=200)
    rows = pads.dataset(lake / "features").to_table().sort_by("pts")
    with running("--from", lake, env={"VIDLAKE_API_KEYS": KEY}) as found:
        assert found.post("/v1/embed", b"").status_code == 401
        answer = found.post("/v1/embed", clips().read_bytes(), "video/mp4", authorization=f"Bearer {KEY}").json()
        live = np.array([sample["feature"] for sample in answer["samples"]], np.float32)
        assert np.abs(live - np.array(rows["feature"].to_pylist(), np.float32)).max() <= 1e-5
    assert "digest" in refused("--from", lake, "--weights", "random:4")
