"""A webhook hears of each event at once, in order and at least once, whoever is restarted."""

import hashlib
import hmac
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from live_lakes import writer

from pipeline.cameras.sinks import webhook as sending
from pipeline.cameras.sinks.cursor import Cursor
from pipeline.cameras.sinks.webhook import Webhook
from pipeline.errors import UsageError
from pipeline.lake.live.batches import LiveBatch
from pipeline.records.event_ids import EventIds
from pipeline.records.events import Event, EventType
from pipeline.records.geometry import Box

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events happen while the test runs, however long ago this file was loaded."""
    monkeypatch.setattr(sys.modules[__name__], "NOW", datetime.now(UTC).replace(microsecond=0))


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
        event_id=EventIds(stream).next(NOW + timedelta(seconds=number)),
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


def test_an_event_is_sent_at_once(receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when a thread that sleeps wakes up for something else."""
    monkeypatch.setattr(sending, "_SAVE_S", 3600.0)
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret=None)
    for number in range(3):
        webhook.send(event(number))
        until(partial(lambda wanted: len(receiver.taken) == wanted, number + 1))
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

    assert receiver.told == [event(number).event_id for number in (1, 1, 1, 1, 1, 2, 2, 3)]


def test_a_receiver_that_is_away_is_waited_for_and_its_secrets_are_not_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once."""
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
    [said] = [record.getMessage() for record in caplog.records if record.name == sending.__name__]
    assert said.startswith(f"--events: http://127.0.0.1:{port} does not answer (ConnectError); events wait")
    back.stop()


def test_a_receiver_that_never_answers_costs_the_time_that_is_given_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(answers=(500,) * 10_000)
    webhook = Webhook(receiver.url, lake=str(tmp_path), secret=None)
    webhook.send(event(1))
    until(lambda: receiver.posts)
    began = time.monotonic()
    webhook.close(timeout_s=1.0)

    assert 0.5 < time.monotonic() - began < 30
    assert "what it has not taken is sent at the next start" in caplog.text
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


# Beside a lake.


def lake_with(tmp_path: Path, *numbers: int) -> str:
    """A lake to which a stream, run after run, committed events."""
    lake = str(tmp_path / "lake")
    with writer(lake) as stream:
        stream.commit(LiveBatch(events=tuple(map(event, numbers))))
    return lake


def test_a_restart_sends_what_was_not_acknowledged_first(receiver: Receiver, tmp_path: Path) -> None:
    """Events 2 and 3 are in the lake and were not taken before the first webhook was closed."""
    lake = lake_with(tmp_path, 0)
    first = Webhook(receiver.url, lake=lake, secret=None)
    first.send(event(1))
    until(lambda: receiver.taken == [event(1).event_id])
    receiver.answers = [500] * 1000
    for number in (2, 3):
        first.send(event(number))
    first.close(timeout_s=0.2)
    lake_with(tmp_path, 1, 2, 3)
    receiver.answers = []

    second = Webhook(receiver.url, lake=lake, secret=None)
    second.send(event(4))
    second.close()

    assert receiver.taken == [event(number).event_id for number in (1, 2, 3, 4)]


def test_a_new_webhook_begins_with_what_comes_from_then_on(receiver: Receiver, tmp_path: Path) -> None:
    """What is in the lake already was for nobody; what came since is sent, also if the first run was killed at once."""
    lake = lake_with(tmp_path, -200, -100)
    Cursor.load(lake, receiver.url, now=NOW)
    lake_with(tmp_path, 1, 2)

    webhook = Webhook(receiver.url, lake=lake, secret=None)
    until(lambda: len(receiver.taken) == 2)
    webhook.close()

    assert receiver.taken == [event(1).event_id, event(2).event_id]


def test_a_new_signature_of_an_address_goes_on_with_its_cursor(receiver: Receiver, tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 0)
    webhook = Webhook(receiver.url, lake=lake, secret=None)
    webhook.send(event(1))
    webhook.close()

    cursor = Cursor.load(lake, receiver.url.replace("hidden", "another"), now=NOW)

    assert cursor.acknowledged == {"gate": event(1).event_id}
    assert "hidden" not in (tmp_path / "lake" / cursor.name).read_text()


def test_what_memory_has_no_room_for_is_sent_from_the_lake(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver is away while more happens than is kept; events that are not committed yet are waited for."""
    monkeypatch.setattr(sending, "_MOST_WAITING", 3)
    monkeypatch.setattr(sending, "_COMMIT_S", 0.05)
    monkeypatch.setattr(sending, "_LONGEST_WAIT_S", 0.5)
    receiver.answers = [503] * 6
    lake = lake_with(tmp_path, -100)
    webhook = Webhook(receiver.url, lake=lake, secret=None)
    for number in range(10):
        webhook.send(event(number))
    until(lambda: len(receiver.taken) >= 3)
    lake_with(tmp_path, *range(10))
    until(lambda: len(receiver.taken) == 10)
    webhook.send(event(10))  # which memory may still have no room for, so the lake has it as well
    lake_with(tmp_path, 10)
    webhook.close()

    assert receiver.taken == [event(number).event_id for number in range(11)]


def test_an_event_that_is_sent_from_the_lake_is_not_sent_twice(receiver: Receiver, tmp_path: Path) -> None:
    """It is committed, and handed over, while the webhook is still busy with what came before."""
    lake = lake_with(tmp_path, -100)
    Cursor.load(lake, receiver.url, now=NOW)
    lake_with(tmp_path, 1, 2)
    webhook = Webhook(receiver.url, lake=lake, secret=None)
    for number in (1, 2, 3):
        webhook.send(event(number))
    webhook.close()

    assert receiver.taken == [event(number).event_id for number in (1, 2, 3)]


def test_a_damaged_cursor_is_said(receiver: Receiver, tmp_path: Path) -> None:
    lake = lake_with(tmp_path, 0)
    cursor = Cursor.load(lake, receiver.url, now=NOW)
    (tmp_path / "lake" / cursor.name).write_text("[]")

    with pytest.raises(UsageError, match="is damaged"):
        Webhook(receiver.url, lake=lake, secret=None)
