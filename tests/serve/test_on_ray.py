"""``vidlake serve``, the command, with Ray Serve under it."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import httpx
import numpy as np
import orjson
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest
import websockets
from commanded import MODEL, Server, running
from conftest import ClipFactory
from numpy.typing import NDArray
from patience import PATIENCE_S
from serving import KEY, encoded, noise
from websockets.asyncio.client import ClientConnection

PAGE = "https://console.example"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(*MODEL, "--decoders", 1, "--max-seconds", 30, "--allowed-origin", PAGE) as started:
        yield started


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """A dataset, and what the server answered while the job that wrote it was running."""

    rows: pa.Table
    clips: tuple[Path, ...]
    answers: tuple[httpx.Response, ...]

    def rows_of(self, clip: Path) -> pa.Table:
        return self.rows.filter(pc.equal(self.rows["uri"], str(clip))).sort_by("pts")


@pytest.fixture(scope="module")
def side_by_side(server: Server, clips: ClipFactory, tmp_path_factory: pytest.TempPathFactory) -> SideBySide:
    """``extract`` on the machine on which ``serve`` is answering."""
    out = tmp_path_factory.mktemp("beside") / "lake"
    archive = (clips(num_frames=150, gop=30), clips(num_frames=150, rotation=90, codec="mpeg4"))
    arguments = ["extract", *archive, "--out", out, *MODEL, "--sample", "fps:5"]
    job = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    answers = []
    while job.poll() is None:
        answers.append(server.post("/v1/embed", encoded(noise())))
        time.sleep(0.2)
    said, _ = job.communicate()
    assert job.returncode == 0, said
    return SideBySide(rows=pads.dataset(out / "features").to_table(), clips=archive, answers=tuple(answers))


@pytest.mark.slow
def test_serve_answers_beside_extract_on_one_machine(server: Server, side_by_side: SideBySide) -> None:
    """Neither starts, stops or joins the other's Ray, and both give the right numbers."""
    assert len(side_by_side.answers) > 5
    assert {answer.status_code for answer in side_by_side.answers} == {200}
    alone = vectors(server.post("/v1/embed", encoded(noise())))
    assert all(is_same(vectors(answer), alone) for answer in side_by_side.answers)
    assert [side_by_side.rows_of(clip).num_rows for clip in side_by_side.clips] == [30, 30]


@pytest.mark.slow
def test_live_equals_batch(server: Server, side_by_side: SideBySide) -> None:
    for clip in side_by_side.clips:
        rows = side_by_side.rows_of(clip)
        answer = server.post("/v1/embed?sample=fps:5", clip.read_bytes(), "video/mp4")
        samples = answer.json()["samples"]
        assert [sample["pts"] for sample in samples] == rows["pts"].to_pylist()
        assert [sample["time_s"] for sample in samples] == rows["time_s"].to_pylist()
        assert is_same(vectors(answer), stored(rows))
        assert answer.json()["fingerprint"] == orjson.loads(rows.schema.metadata[b"vidlake"])["fingerprint"]


@pytest.mark.slow
def test_png_of_a_frame_equals_its_row(server: Server, side_by_side: SideBySide) -> None:
    for clip in side_by_side.clips:
        rows = side_by_side.rows_of(clip)
        pictures = upright_frames(clip, set(rows["pts"].to_pylist()))
        posted = [vectors(server.post("/v1/embed", encoded(pictures[pts])))[0] for pts in rows["pts"].to_pylist()]
        assert is_same(np.stack(posted), stored(rows))


def upright_frames(clip: Path, wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
    """RGB pictures by pts, decoded by PyAV itself and turned as the display matrix says."""
    with av.open(str(clip)) as container:
        frames = [frame for frame in container.decode(video=0) if frame.pts in wanted]
    return {
        cast(int, frame.pts): np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90))
        for frame in frames
    }


def vectors(answer: httpx.Response) -> NDArray[np.float32]:
    assert answer.status_code == 200, answer.text
    return np.array([sample["feature"] for sample in answer.json()["samples"]], np.float32)


def stored(rows: pa.Table) -> NDArray[np.float32]:
    return np.array(rows["feature"].to_pylist(), np.float32)


def is_same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(np.abs(one - other).max() <= 1e-5 * max(1, np.abs(other).max()))


@pytest.mark.slow
def test_fifty_idle_sockets_take_nothing_from_ten_busy_ones(server: Server) -> None:
    url = server.url.replace("http", "ws") + "/v1/live"
    pictures = [encoded(noise(seed=seed)) for seed in range(20)]

    async def talk(socket: ClientConnection, num_pictures: int) -> list[int]:
        seqs = []
        for picture in pictures[:num_pictures]:
            await socket.send(picture)
            answer = orjson.loads(await asyncio.wait_for(socket.recv(), 60))
            assert len(answer["feature"]) == 512
            seqs.append(answer["seq"])
        return seqs

    async def main() -> None:
        idle = await asyncio.gather(*(websockets.connect(url, open_timeout=PATIENCE_S) for _ in range(50)))
        busy = await asyncio.gather(*(websockets.connect(url, open_timeout=PATIENCE_S) for _ in range(10)))
        answered = asyncio.gather(*(talk(socket, 20) for socket in busy))
        still = await asyncio.to_thread(server.post, "/v1/embed", pictures[0])
        assert still.status_code == 200
        assert await answered == [list(range(20))] * 10
        assert await asyncio.gather(*(talk(socket, 1) for socket in idle)) == [[0]] * 50, "an idle one still answers"
        await asyncio.gather(*(socket.close() for socket in (*idle, *busy)))

    asyncio.run(main())
    assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).status_code == 200


@pytest.mark.slow
def test_start_says_where_and_how(server: Server) -> None:
    said = "".join(server.said)
    assert f"vidlake serves video_cnn at {server.url}" in said
    assert "curl" in said


@pytest.mark.slow
def test_heads_and_preflights_are_answered(server: Server) -> None:
    head = httpx.head(f"{server.url}/v1/models", headers={"origin": PAGE}, timeout=PATIENCE_S)
    assert (head.status_code, head.content) == (200, b"")
    request = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = httpx.options(f"{server.url}/v1/embed", headers=request, timeout=PATIENCE_S)
    assert preflight.status_code == 200
    for answer in (head, preflight):
        assert answer.headers.get_list("access-control-allow-origin") == [PAGE]


@pytest.mark.slow
def test_single_replica_needs_no_proxy_and_is_started_anew_where_it_dies(server: Server) -> None:
    names = [" ".join(child.cmdline()) for child in psutil.Process(server.process.pid).children(recursive=True)]
    assert any("ServeReplica" in name for name in names)
    assert not any("ProxyActor" in name for name in names)
    before = server.replica()
    before.kill()
    before.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(httpx.TransportError):
            answer = server.post("/v1/embed", encoded(noise()))
            break
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert answer.status_code == 200
    assert server.replica().pid != before.pid


@pytest.mark.slow
def test_several_replicas_answer_behind_rays_proxy() -> None:
    """It brings the id of a request, and puts it on the answer; keys and limits are the replicas' own."""
    with running(
        *MODEL, "--decoders", 1, "--replicas", 2, "--max-body", "64KiB", env={"VIDLAKE_API_KEYS": KEY}
    ) as several:
        key = {"authorization": f"Bearer {KEY}"}
        answers = [several.post("/v1/embed", encoded(noise()), **key, **{"x-request-id": "mine-8"}) for _ in range(4)]
        assert {answer.status_code for answer in answers} == {200}
        assert [answer.headers.get_list("x-request-id") for answer in answers] == [["mine-8"]] * 4
        assert several.post("/v1/embed", encoded(noise())).status_code == 401
        assert several.post("/v1/embed", bytes(65 << 10), **key).status_code == 413
        assert httpx.get(f"{several.url}/readyz", timeout=PATIENCE_S).status_code == 200


@pytest.mark.slow
def test_metrics_come_through_rays_exporter(server: Server) -> None:
    for _ in range(3):
        assert server.post("/v1/embed", encoded(noise())).status_code == 200
    server.post("/v1/embed", b"no picture", "image/png")
    [line] = [line for line in server.said if "metrics" in line]
    wanted = ("vidlake_requests", "vidlake_request_seconds", "vidlake_batch_pictures", "vidlake_decode_failures")
    for _ in range(60):
        shown = httpx.get(line.split()[1], timeout=PATIENCE_S).text
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
        records = [orjson.loads(line) for line in lines if "mine-7" in line]
        if records:
            break
        time.sleep(0.1)
    assert (records[0]["request_id"], records[0]["endpoint"], records[0]["status"]) == ("mine-7", "/v1/embed", 200)
    assert not any("fps:3" in line for line in lines)


@pytest.mark.slow
def test_sockets_opened_and_dropped_leave_the_server_ready(server: Server) -> None:
    async def storm() -> None:
        url = server.url.replace("http", "ws") + "/v1/live"
        for _ in range(4):
            sockets = await asyncio.gather(*(websockets.connect(url, open_timeout=PATIENCE_S) for _ in range(25)))
            for at, opened in enumerate(sockets):
                if at % 2:
                    await opened.send(encoded(noise()))
                opened.transport.abort()

    asyncio.run(storm())
    assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).status_code == 200
    assert server.post("/v1/embed", encoded(noise())).status_code == 200


@pytest.mark.slow
def test_cut_off_uploads_and_wrong_lengths_leave_the_server_ready(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    head = "POST /v1/embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n"
    for length, body in [("5000", b"short"), ("99999999999", b"x"), ("-4", b"x"), ("abc", b"x"), ("3", b"x" * 900)]:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
            raw.sendall(head.format(length).encode() + body)
    slow = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    slow.sendall(head.format("5000").encode())
    assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE_S).status_code == 200
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
                client.post(
                    f"{server.url}/v1/embed", content=body, headers={"content-type": "image/jpeg"}, timeout=PATIENCE_S
                )
        return int(replica.memory_full_info().uss)

    before = private_bytes(300)
    assert private_bytes(1000) - before < 30_000_000
