"""The client of Azure Video Analyzer's HTTP extensions, against a server that is held to the published schema."""

import asyncio
import io
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from typing_extensions import override

from pipeline.cameras.analysis.detector import DetectionFailed, Pixels
from pipeline.cameras.analysis.extension import ExtensionDetector
from pipeline.records.geometry import Box, Detection

SCHEMA = json.loads((Path(__file__).parents[1] / "serve" / "azure_inferences.schema.json").read_text())
PICTURE = np.random.default_rng(0).integers(0, 256, (54, 96, 3), dtype=np.uint8)


@dataclass
class Extension:
    """A server with one answer, and what it was sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    delay_s: float = 0.0
    port: int = 0
    received: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Path, content type and body of each request."""
    num_connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/score"


@contextmanager
def extension(
    body: bytes = b"", *, status: int = 200, headers: Mapping[str, str] | None = None, delay_s: float = 0.0
) -> Iterator[Extension]:
    state = Extension(status=status, headers=headers or {}, body=body, delay_s=delay_s)
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        @override
        def setup(self) -> None:
            state.num_connections += 1
            super().setup()

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            state.received.append((self.path, self.headers["content-type"], sent))
            is_over.wait(state.delay_s)
            self.send_response(state.status)
            for name, value in {**state.headers, "content-length": str(len(state.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(state.body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        @override
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up."""

    with Server(("127.0.0.1", 0), Handler) as server:
        state.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        is_over.set()
        server.shutdown()
        thread.join()


def entity(
    label: str, left: float, top: float, width: float, height: float, *, confidence: float | None = 0.9
) -> object:
    tag = {"value": label} if confidence is None else {"value": label, "confidence": confidence}
    return {"type": "entity", "entity": {"tag": tag, "box": {"l": left, "t": top, "w": width, "h": height}}}


def answer(*inferences: object) -> bytes:
    """An answer that the contract allows."""
    document = {"timestamp": 1, "inferences": inferences}
    encoded = json.dumps(document)
    jsonschema.validate(json.loads(encoded), SCHEMA)
    return encoded.encode()


def ask(url: str, *pictures: Pixels, timeout_s: float = 5.0) -> list[Sequence[Detection]]:
    async def all_of_them() -> list[Sequence[Detection]]:
        async with ExtensionDetector(url, timeout_s=timeout_s) as detector:
            return [await detector.detect(picture) for picture in pictures]

    return asyncio.run(all_of_them())


def test_a_jpeg_is_posted_and_objects_come_back() -> None:
    body = answer(entity("car", 0.1, 0.2, 0.3, 0.4), entity("person", 0, 0, 1, 1, confidence=None))
    with extension(body, headers={"content-type": "application/json"}) as server:
        (found,) = ask(server.url, PICTURE)

    car, person = found
    assert (car.label, car.confidence) == ("car", 0.9)
    assert (car.box.left, car.box.top) == (0.1, 0.2)
    assert [car.box.width, car.box.height] == pytest.approx([0.3, 0.4])
    assert person == Detection(box=Box(left=0, top=0, width=1, height=1), label="person", confidence=None)
    ((path, kind, sent),) = server.received
    assert (path, kind) == ("/score", "image/jpeg")
    shown = np.asarray(Image.open(io.BytesIO(sent)).convert("RGB"), np.int16)
    assert Image.open(io.BytesIO(sent)).format == "JPEG"
    assert shown.shape == PICTURE.shape
    smooth = np.full((54, 96, 3), (200, 40, 90), np.uint8)
    with extension(status=204) as server:
        ask(server.url, smooth)
    assert np.abs(np.asarray(Image.open(io.BytesIO(server.received[0][2])), np.int16) - smooth).max() <= 4


def test_204_is_a_picture_without_objects() -> None:
    with extension(status=204) as server:
        assert ask(server.url, PICTURE) == [()]


def test_one_connection_serves_all_pictures() -> None:
    with extension(answer(entity("car", 0, 0, 1, 1))) as server:
        assert len(ask(server.url, *[PICTURE] * 5)) == 5

    assert (len(server.received), server.num_connections) == (5, 1)


def test_what_is_no_entity_is_passed_over() -> None:
    others = [
        {"type": "classification", "subtype": "color", "classification": {"tag": {"value": "red", "confidence": 0.9}}},
        {"type": "motion", "motion": {"box": {"l": 0, "t": 0, "w": 1, "h": 1}}},
        {"type": "text", "text": {"value": "AB 123", "language": "en"}},
        {"type": "event", "event": {"name": "alarm", "properties": {"level": "1"}}},
        {"type": "other", "other": {"contentType": "text/plain", "contentBytes": "aGk="}, "extensions": {"a": 1}},
    ]
    with extension(answer(*others, entity("car", 0, 0, 1, 1))) as server:
        (found,) = ask(server.url, PICTURE)

    assert [each.label for each in found] == ["car"]


def test_boxes_end_at_the_pictures_edge() -> None:
    """Servers that round give a little more than the picture; what lies outside is no object of it."""
    inferences = [entity("a", 0.9, -0.1, 0.3, 0.4), entity("b", 1.2, 0, 0.1, 0.1), entity("c", 0.5, 0.5, 0, 0.1)]
    with extension(json.dumps({"inferences": inferences}).encode()) as server:
        (found,) = ask(server.url, PICTURE)

    (each,) = found
    assert each.label == "a"
    assert each.box.left + each.box.width == pytest.approx(1)
    assert [each.box.top, each.box.height] == pytest.approx([0, 0.3])


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        pytest.param(b"{", 200, "not what an extension says", id="no-json"),
        pytest.param(b"[1]", 200, "not what an extension says", id="no-document"),
        pytest.param(b'{"inferences": 1}', 200, "not what an extension says", id="no-list"),
        pytest.param(
            b'{"inferences": [{"type": "entity"}]}', 200, "without its tag and box", id="an-entity-of-nothing"
        ),
        pytest.param(
            b'{"inferences": [{"type": "entity", "entity": {"tag": {"value": "x"}, "box": {"l": NaN}}}]}',
            200,
            "not what an extension says",
            id="not-a-number",
        ),
        pytest.param(b"\xff\xfe", 200, "not what an extension says", id="no-utf-8"),
        pytest.param(b" " * (2 << 20), 200, "longer than", id="too-long"),
        pytest.param(b"", 500, "status 500", id="an-error"),
        pytest.param(b"", 404, "status 404", id="not-found"),
        pytest.param(b"", 302, "status 302", id="a-redirect-is-not-followed"),
    ],
)
def test_an_odd_answer_is_no_answer(body: bytes, status: int, detail: str) -> None:
    with (
        extension() as elsewhere,
        extension(body, status=status, headers={"location": elsewhere.url}) as server,
        pytest.raises(DetectionFailed, match=detail),
    ):
        ask(server.url, PICTURE)

    assert elsewhere.received == []


def test_an_empty_answer_has_no_objects() -> None:
    with extension(b"") as server:
        assert ask(server.url, PICTURE) == [()]


def test_a_slow_server_is_waited_for_no_longer_than_it_may_take() -> None:
    with extension(status=204, delay_s=60) as server:
        began = time.monotonic()
        with pytest.raises(DetectionFailed, match=r"no answer within 0\.2 s"):
            ask(server.url, PICTURE, timeout_s=0.2)
        assert time.monotonic() - began < 30


def test_a_server_that_drips_its_answer_is_not_waited_for() -> None:
    """Each byte comes in time, and the answer does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            client = listener.accept()[0]
            with client:
                client.recv(65536)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                for _ in range(40):
                    try:
                        client.sendall(b" ")
                    except OSError:
                        return
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(DetectionFailed, match="no answer within"):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}/", PICTURE, timeout_s=0.3)
        thread.join()


def test_a_server_that_is_not_there_is_no_answer_and_shows_no_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(DetectionFailed) as failure:
        ask(f"http://viewer:secret-word@127.0.0.1:{port}/score", PICTURE)

    assert f"http://127.0.0.1:{port}/score" in str(failure.value)
    assert "secret-word" not in str(failure.value)
