"""A webhook hears of each event at once, in order and at least once, whoever is restarted."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.cameras.sinks import webhook as sending
from pipeline.cameras.sinks.webhook import Webhook
from pipeline.errors import UsageError
from pipeline.records.events import Event, EventType
from pipeline.records.geometry import Box

NOW = datetime.now(UTC)


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted; ``answers`` are the statuses of the next posts, and then 204."""

    def __init__(self, *, port: int = 0, answers: tuple[int, ...] = ()) -> None:
        receiver, self.answers = self, list(answers)
        self.posts: list[tuple[int, bytes]] = []
        self.headers: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.answers.pop(0) if receiver.answers else 204
                receiver.posts.append((status, body))
                receiver.headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "http://127.0.0.1:1/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?sig=hidden"

    @property
    def taken(self) -> list[str]:
        return [json.loads(body)["event_id"] for status, body in self.posts if 200 <= status < 300]

    @property
    def told(self) -> list[str]:
        return [json.loads(body)["event_id"] for _, body in self.posts]

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_FIRST_WAIT_S", 0.01)


def event(number: int, *, stream: str = "gate") -> Event:
    return Event(
        event_id=f"{number:06}-{stream}",
        video_id="a" * 20,
        uri="rtsp://camera/gate",
        stream=stream,
        type=EventType.LINE_CROSSED,
        pts=number * 3600,
        time_s=number / 25,
        captured_at=NOW + timedelta(seconds=number),
        track=7,
        label="car",
        confidence=0.5,
        box=Box(left=0.1, top=0.2, width=0.3, height=0.4),
        name="ROAD",
    )


def until(condition: Callable[[], object], *, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_event_is_a_request_of_its_own_in_their_order(receiver: Receiver, tmp_path: Path) -> None:
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret=None)
    events = [event(number, stream="gate" if number % 3 else "door") for number in range(30)]
    for each in events:
        webhook.send(each)
    webhook.close()

    assert receiver.told == [each.event_id for each in events]
    assert [json.loads(body) for _, body in receiver.posts] == [each.to_json() for each in events]
    assert receiver.headers[0]["content-type"] == "application/json"


def test_an_event_is_sent_at_once(receiver: Receiver, tmp_path: Path) -> None:
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret=None)
    for number in range(3):
        webhook.send(event(number))
        until(partial(lambda wanted: len(receiver.taken) == wanted, number + 1), timeout_s=5)
    webhook.close()


def test_the_body_is_signed(receiver: Receiver, tmp_path: Path) -> None:
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret="a secret")
    webhook.send(event(1))
    webhook.close()

    digest = hmac.new(b"a secret", receiver.posts[0][1], hashlib.sha256).hexdigest()
    assert receiver.headers[0]["x-vidlake-signature"] == f"sha256={digest}"


def test_what_is_refused_is_sent_again_before_any_other(receiver: Receiver, tmp_path: Path) -> None:
    """A redirect is no answer either: nobody is sent elsewhere."""
    receiver.answers = [500, 429, 302, 400, 204, 503]
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret=None)
    for number in (1, 2, 3):
        webhook.send(event(number))
    webhook.close()

    assert [int(each[:6]) for each in receiver.told] == [1, 1, 1, 1, 1, 2, 2, 3]


def test_a_receiver_that_is_away_is_waited_for_and_its_secrets_are_not_told(tmp_path: Path) -> None:
    first = Receiver()
    url, port = first.url, first.server_port
    first.stop()
    webhook = Webhook(url, lake=str(tmp_path), secret=None)
    webhook.send(event(1))
    until(lambda: webhook.error is not None)
    assert webhook.error == f"http://127.0.0.1:{port} does not answer (ConnectError)"

    back = Receiver(port=port)
    until(lambda: back.taken == [event(1).event_id])
    webhook.close()
    assert webhook.error is None
    back.stop()


def test_a_receiver_that_never_answers_costs_the_time_that_is_given_at_the_end(tmp_path: Path) -> None:
    receiver = Receiver(answers=(500,) * 10_000)
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret=None)
    webhook.send(event(1))
    until(lambda: receiver.posts)
    began = time.monotonic()
    webhook.close(timeout_s=1.0)

    assert 0.5 < time.monotonic() - began < 4
    assert not webhook._thread.is_alive()
    receiver.stop()


@pytest.mark.parametrize("url", ["", "ftp://host/x", "http://", "http://host:port/", "just a word"])
def test_no_address_is_said(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bad --events"):
        Webhook(url, lake=str(tmp_path), secret=None)


def test_a_box_or_nothing_is_json_as_the_table_has_it() -> None:
    told = event(1).to_json()

    assert told["box"] == {"left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4}
    assert replace(event(1), box=None).to_json()["box"] is None
    assert told["captured_at"] == (NOW + timedelta(seconds=1)).isoformat()
