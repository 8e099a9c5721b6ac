"""``vidlake serve --out``: real streams beside the requests, with Ray Serve under them."""

import io
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import psutil
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest
from commanded import MODEL, Server, refused, running
from patience import PATIENCE_S
from PIL import Image
from rtsp_cameras import ScriptedCamera, Sent, script_of
from videos import video_bytes

ADMIN = "an-admin-key-of-some-length"
SECRET = "pw-51e0-never-to-be-seen"
CLIP_S = 4


def endless(clip: bytes) -> Callable[[], Iterator[Sent]]:
    """A camera that shows a clip again and again by the wall clock: falling behind begins another session."""
    one_turn = script_of(clip)

    def script() -> Iterator[Sent]:
        began = time.monotonic()
        for turn in itertools.count():
            for sent in one_turn:
                rtp_time = sent.rtp_time + turn * CLIP_S * 90_000
                due = began + rtp_time / 90_000
                yield replace(sent, rtp_time=rtp_time, after_s=max(0.0, due - time.monotonic()))

    return script


@dataclass(frozen=True, slots=True)
class Watching:
    """A server with two replicas, its lake, and two cameras, one of which asks for a password."""

    server: Server
    lake: Path
    camera: ScriptedCamera
    locked: ScriptedCamera

    def ask(self, method: str, path: str, **sent: object) -> httpx.Response:
        headers = {"authorization": f"Bearer {ADMIN}"}
        return httpx.request(method, f"{self.server.url}{path}", headers=headers, timeout=PATIENCE_S, **sent)  # type: ignore[arg-type]

    def post(self, name: str, source: str, **words: object) -> httpx.Response:
        return self.ask("POST", "/v1/streams", json={"name": name, "source": source, "sample": "fps:5", **words})

    def samples(self, name: str) -> int:
        answer = self.ask("GET", f"/v1/streams/{name}")
        return int(answer.json()["counters"]["samples"]) if answer.status_code == 200 else 0

    def session(self, name: str) -> object:
        answer = self.ask("GET", f"/v1/streams/{name}")
        return answer.json()["session"] if answer.status_code == 200 else None

    def play(self, name: str, *, samples: int = 1) -> None:
        """Wait until a stream has so many more samples."""
        before = self.samples(name)
        until(lambda: self.samples(name) >= before + samples)

    def rows(self, name: str) -> int:
        """Of a stream whose sessions are over: what is published."""
        videos = pads.dataset(self.lake / "videos").to_table(filter=pc.field("stream") == name)
        return int(sum(videos["num_samples"].to_pylist()))

    @contextmanager
    def events(self, query: str = "", *, last: str | None = None) -> Iterator[Iterator[dict[str, object]]]:
        headers = {"authorization": f"Bearer {ADMIN}", **({} if last is None else {"last-event-id": last})}
        with httpx.stream("GET", f"{self.server.url}/v1/events{query}", headers=headers, timeout=PATIENCE_S) as answer:
            lines = (line for line in answer.iter_lines() if line.startswith("data: "))
            yield (json.loads(line.removeprefix("data: ")) for line in lines)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(scope="module")
def watching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watching]:
    folder = tmp_path_factory.mktemp("watching")
    script = endless(video_bytes(num_frames=25 * CLIP_S))
    (folder / "admin.keys").write_text(f"{ADMIN}\n")
    with ScriptedCamera(script) as camera, ScriptedCamera(script, login=("viewer", SECRET)) as locked:
        (folder / "streams.yaml").write_text(
            f"streams: [{{name: filed, source: '{camera.url}', sample: fps:5, motion: off, detect: motion}}]\n"
        )
        cameras = [
            "--out",
            folder / "lake",
            "--streams",
            folder / "streams.yaml",
            "--admin-keys",
            folder / "admin.keys",
        ]
        sources = ["--allow-source", "rtsp://127.0.0.1:*"]
        seconds = ["--commit-seconds", 1, "--publish-seconds", 2, "--stall-seconds", 60]
        with running(*MODEL, "--replicas", 2, *cameras, *sources, *seconds) as server:
            yield Watching(server, folder / "lake", camera, locked)


@pytest.mark.slow
def test_stream_of_the_file_plays_and_every_replica_tells_of_it(watching: Watching) -> None:
    watching.play("filed", samples=5)
    answers = [watching.ask("GET", "/v1/streams").json()["streams"] for _ in range(12)]
    assert {tuple(stream["name"] for stream in streams) for streams in answers} == {("filed",)}
    assert {streams[0]["state"] for streams in answers} == {"playing"}
    for query in ("", "?boxes=1"):
        picture = watching.ask("GET", f"/v1/streams/filed/picture{query}")
        assert picture.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(picture.content)).size == (96, 64)


@pytest.mark.slow
def test_posted_stream_is_committed_when_it_is_stopped_and_its_name_is_free(watching: Watching) -> None:
    for turn in range(2):
        assert watching.post("posted", watching.camera.url).status_code == 201
        assert watching.post("posted", watching.camera.url).status_code == 409
        watching.play("posted", samples=5)
        stopped = watching.ask("DELETE", "/v1/streams/posted")
        assert stopped.json()["state"] == "stopped"
        assert watching.rows("posted") >= stopped.json()["counters"]["samples"] >= 5, f"turn {turn}"
        assert watching.ask("GET", "/v1/streams/posted").status_code == 404


@pytest.mark.slow
def test_another_sampling_rule_than_the_lakes_is_a_conflict(watching: Watching) -> None:
    answer = watching.post("other", watching.camera.url, sample="fps:2")
    assert answer.status_code == 409
    assert "--sample" in answer.json()["error"]["message"]
    assert [stream["name"] for stream in watching.ask("GET", "/v1/streams").json()["streams"]] == ["filed"]


@pytest.mark.slow
def test_password_of_a_camera_is_used_and_seen_nowhere(watching: Watching, tmp_path: Path) -> None:
    address = watching.locked.url.removeprefix("rtsp://")
    assert watching.post("locked", f"rtsp://viewer:{SECRET}@{address}?token={SECRET}").status_code == 201
    assert watching.post("shut", f"rtsp://viewer:{SECRET}-not@{address}").status_code == 201
    watching.play("locked", samples=3)
    until(lambda: watching.ask("GET", "/v1/streams/shut").json()["last_error"])
    told = [watching.ask("GET", path).text for path in ("/v1/streams", "/v1/streams/locked", "/v1/streams/shut")]
    titles = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    for name in ("locked", "shut"):
        told.append(watching.ask("DELETE", f"/v1/streams/{name}").text)
    [logs] = [Path(line.split()[1]).parents[1] for line in watching.server.said if "logs" in line]
    contents = {path: content for folder in (logs, watching.lake) for path, content in contents_of(folder)}
    assert len(contents) > 10
    assert not [path for path, content in contents.items() if SECRET.encode() in content]
    assert not [text for text in (*told, *titles) if SECRET in text]


def contents_of(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Of each file. A stream that goes on may remove one of its own meanwhile; those of an ended one stay."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()


@pytest.mark.slow
def test_listener_hears_a_stream_from_its_start_and_goes_on_where_it_was(watching: Watching) -> None:
    with watching.events("?stream=heard") as events:
        assert watching.post("heard", watching.camera.url).status_code == 201
        first, second = next(events), next(events)
    assert [event["label"] for event in (first, second)] == ["connecting", "playing"]
    assert watching.ask("DELETE", "/v1/streams/heard").status_code == 200
    with watching.events("?stream=heard", last=str(first["event_id"])) as events:
        assert next(events) == second
        assert next(events)["label"] == "stopped"
    with watching.events("?type=motion_start") as events:
        assert watching.post("moving", watching.camera.url, motion="high").status_code == 201
        assert (event := next(events))["stream"] == "moving"
        assert event["type"] == "motion_start"
    assert watching.ask("DELETE", "/v1/streams/moving").status_code == 200


@pytest.mark.slow
def test_metrics_of_streams_come_through_rays_exporter(watching: Watching) -> None:
    watching.play("filed")
    [url] = [line.split()[1] for line in watching.server.said if "metrics" in line]
    wanted = ("vidlake_stream_pictures_total{", "vidlake_stream_samples_total{", "vidlake_stream_lag_seconds{")
    until(lambda: all(name in httpx.get(url, timeout=PATIENCE_S).text for name in wanted))
    lines = httpx.get(url, timeout=PATIENCE_S).text.splitlines()
    states = [line for line in lines if "vidlake_stream_state{" in line and 'stream="filed"' in line]
    assert [line for line in states if line.endswith(" 1.0")] == [line for line in states if 'state="playing"' in line]


@pytest.mark.slow
def test_replica_that_dies_takes_no_stream_with_it(watching: Watching) -> None:
    """Another one embeds its pictures, and Serve starts a new one."""
    watching.play("filed", samples=3)
    before = watching.ask("GET", "/v1/streams/filed").json()
    os.kill(watching.server.replica().pid, signal.SIGKILL)
    watching.play("filed", samples=10)
    after = watching.ask("GET", "/v1/streams/filed").json()
    assert after["session"] == before["session"]
    assert after["counters"]["reconnects"] == before["counters"]["reconnects"]


@pytest.mark.slow
def test_host_of_the_streams_that_dies_is_followed_by_one_that_knows_them(watching: Watching) -> None:
    """Those of the file and those that were posted, and none that was stopped; each goes on in a new session."""
    for name in ("kept", "gone"):
        assert watching.post(name, watching.camera.url).status_code == 201
    watching.play("kept", samples=3)
    assert watching.ask("DELETE", "/v1/streams/gone").status_code == 200
    before = watching.session("kept")
    os.kill(watching.server.host_of_streams().pid, signal.SIGKILL)
    until(lambda: watching.session("kept") not in (None, before))
    watching.play("kept", samples=3)
    assert {stream["name"] for stream in watching.ask("GET", "/v1/streams").json()["streams"]} == {"filed", "kept"}
    assert watching.ask("DELETE", "/v1/streams/kept").status_code == 200
    gaps = pads.dataset(watching.lake / "gaps").to_table(filter=pc.field("stream") == "kept")
    assert "disconnected" in gaps["reason"].to_pylist(), "what the kill cost stands in the ledger"


@pytest.mark.slow
def test_server_that_stops_commits_its_streams_and_leaves_no_process(watching: Watching) -> None:
    """The last test: it ends the server."""
    watching.play("filed", samples=3)
    samples = watching.samples("filed")
    family = psutil.Process(watching.server.process.pid).children(recursive=True)
    watching.server.process.send_signal(signal.SIGINT)
    assert watching.server.process.wait(PATIENCE_S) == 0
    assert watching.rows("filed") >= samples
    statuses = pads.dataset(watching.lake / "videos").to_table()["status"].to_pylist()
    assert "live" not in statuses
    _, left = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert not left


@pytest.mark.slow
def test_lake_of_another_model_is_refused_before_anything_is_watched(watching: Watching) -> None:
    assert "--weights" in refused("--model", "video_cnn", "--weights", "random:1", "--out", watching.lake)
