"""The routes of streams and events: who may, what they answer, and how long. What the streams do is a list in memory.

Real streams are in ``test_served_streams.py``.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime

import httpx
import pytest
from patience import PATIENCE_S
from serving import KEY, Live, encoded, noise, serving
from typing_extensions import override

from pipeline.cameras.hosting.status import StreamCounters, StreamStatus
from pipeline.records.event_ids import EventIds
from pipeline.records.events import Event, EventType
from pipeline.records.streams import StreamState
from serve.cameras.remote import Cameras
from serve.cameras.requests import StreamRequest
from serve.cameras.sources import Sources
from serve.problems import Conflict, NotFound
from serve.protocols.streams import Counters, ListedStream
from serve.settings import CameraSettings, Limits

ADMIN = "an-admin-key-of-some-length"
CAMERA = "rtsp://camera.example:554/cam"
SECRET = "pw-never-to-be-seen"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class ListOfStreams(Cameras):
    """Streams without pictures, whose events are what a test says."""

    def __init__(self, cameras: CameraSettings) -> None:
        self._sources = Sources(cameras)
        self.streams: dict[str, StreamStatus] = {}
        self.stored: list[Event] = []
        self.num_listeners = 0
        self._ids = EventIds("gate")

    @override
    async def start(self, request: StreamRequest) -> StreamStatus:
        spec, _ = self._sources.of_a_post(request)
        if spec.name in self.streams:
            raise Conflict("taken")
        self.streams[spec.name] = StreamStatus(
            spec=spec,
            state=StreamState.CONNECTING,
            since=NOW,
            reason="starting",
            session=None,
            counters=StreamCounters(),
            lag_s=0.25,
            last_error=None,
        )
        return self.streams[spec.name]

    @override
    async def stop(self, name: str) -> StreamStatus:
        stopped = replace(await self.status(name), state=StreamState.STOPPED)
        del self.streams[name]
        return stopped

    @override
    async def statuses(self) -> list[StreamStatus]:
        return list(self.streams.values())

    @override
    async def status(self, name: str) -> StreamStatus:
        if name not in self.streams:
            raise NotFound("no such stream")
        return self.streams[name]

    @override
    async def picture(self, name: str, *, boxes: bool) -> bytes:
        await self.status(name)
        return encoded(noise(seed=boxes), "JPEG")

    @override
    async def events(self, *, stream: str | None, type: EventType | None, after: str | None) -> AsyncIterator[Event]:
        start = len(self.stored) if after is None else [event.event_id for event in self.stored].index(after) + 1
        return self._events(start, stream, type)

    async def _events(self, start: int, stream: str | None, type: EventType | None) -> AsyncIterator[Event]:
        self.num_listeners += 1
        try:
            while True:
                happened = self.stored[start:]
                start += len(happened)
                for event in happened:
                    if stream in (None, event.stream) and type in (None, event.type):
                        yield event
                await asyncio.sleep(0.01)
        finally:
            self.num_listeners -= 1

    def happen(self, type: EventType, stream: str = "gate") -> Event:
        event = Event(
            event_id=self._ids.next(NOW),
            video_id=None,
            uri="rtsp://camera.example/cam",
            stream=stream,
            type=type,
            pts=None,
            time_s=None,
            captured_at=NOW,
        )
        self.stored.append(event)
        return event


@dataclass(frozen=True, slots=True)
class Watching:
    """A server, and its streams."""

    live: Live
    streams: ListOfStreams

    def ask(self, method: str, path: str, *, key: str | None = ADMIN, **sent: object) -> httpx.Response:
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        return httpx.request(method, f"{self.live.url}{path}", headers=headers, timeout=PATIENCE_S, **sent)  # type: ignore[arg-type]

    def post(self, **words: object) -> httpx.Response:
        return self.ask("POST", "/v1/streams", json={"name": "gate", "source": CAMERA, **words})

    @property
    def events(self) -> str:
        return f"{self.live.url}/v1/events"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Live, ListOfStreams]]:
    cameras = CameraSettings(lake="lake", allowed_sources=("rtsp://camera.example:554",))
    streams = ListOfStreams(cameras)
    limits = Limits(decoders=1, max_seconds=1, sockets=3)
    with serving(limits=limits, keys=(KEY,), admin_keys=(ADMIN,), streams=streams) as live:
        yield live, streams


@pytest.fixture
def watching(server: tuple[Live, ListOfStreams]) -> Watching:
    live, streams = server
    wait_until(lambda: live.service.admission.is_idle)
    streams.streams.clear()
    streams.stored.clear()
    return Watching(live, streams)


@pytest.fixture(scope="module")
def without_lake() -> Iterator[Live]:
    with serving(admin_keys=(ADMIN,)) as live:
        yield live


def test_stream_is_started_looked_at_and_stopped(watching: Watching) -> None:
    started = watching.post(sample="fps:5", source=f"rtsp://viewer:{SECRET}@camera.example/cam?token={SECRET}")
    assert (started.status_code, started.headers["location"]) == (201, "/v1/streams/gate")
    [listed] = watching.ask("GET", "/v1/streams", key=KEY).json()["streams"]
    assert listed == started.json() == watching.ask("GET", "/v1/streams/gate", key=KEY).json()
    assert (listed["name"], listed["state"], listed["source"]) == ("gate", "connecting", "rtsp://camera.example/cam")
    assert SECRET not in started.text
    stopped = watching.ask("DELETE", "/v1/streams/gate")
    assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    assert watching.ask("GET", "/v1/streams", key=KEY).json() == {"streams": []}


def test_stream_says_what_the_schema_says_of_it(watching: Watching) -> None:
    started = watching.post().json()
    assert set(started) == {field.name for field in fields(ListedStream)}
    assert set(started["counters"]) == {field.name for field in fields(Counters)}


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/streams"), ("DELETE", "/v1/streams/gate")])
@pytest.mark.parametrize(("key", "status"), [(None, 401), ("some-other-key-0123456", 401), (KEY, 403)])
def test_streams_are_started_and_stopped_by_admins_alone(
    watching: Watching, method: str, path: str, key: str | None, status: int
) -> None:
    body = {"name": "other", "source": CAMERA} if method == "POST" else None
    watching.post()
    assert watching.ask(method, path, key=key, json=body).status_code == status
    assert list(watching.streams.streams) == ["gate"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param({"sample": "every:3"}, (400, "bad_request"), id="another rule"),
        pytest.param({"lines": ["L:0,0"]}, (400, "bad_request"), id="half a line"),
        pytest.param({"name": "../x"}, (400, "bad_request"), id="a bad name"),
        pytest.param({"source": None}, (400, "bad_request"), id="no source"),
        pytest.param({"source": "camera"}, (400, "bad_request"), id="no address"),
        pytest.param({"source": "rtsp://other.example/cam"}, (403, "forbidden"), id="not allowed"),
        pytest.param({"source": "file:/etc/passwd"}, (403, "forbidden"), id="a file"),
        pytest.param({"record": True}, (403, "forbidden"), id="nowhere to record"),
        pytest.param({"name": "taken"}, (409, "conflict"), id="a name twice"),
    ],
)
def test_mistake_is_answered_with_its_code(
    watching: Watching, words: dict[str, object], expected: tuple[int, str]
) -> None:
    assert watching.post(name="taken").status_code == 201
    answer = watching.post(password=SECRET, **words)
    assert (answer.status_code, answer.json()["error"]["code"]) == expected
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/streams/nobody"), ("GET", "/v1/streams/nobody/picture"), ("DELETE", "/v1/streams/nobody")],
)
def test_stream_that_is_not_there_is_not_found(watching: Watching, method: str, path: str) -> None:
    answer = watching.ask(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_picture_is_a_jpeg_that_nobody_keeps(watching: Watching) -> None:
    watching.post()
    for query, boxes in (("", False), ("?boxes=1", True), ("?boxes=0", False)):
        answer = watching.ask("GET", f"/v1/streams/gate/picture{query}", key=KEY)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == ("image/jpeg", "no-store")
        assert answer.content == encoded(noise(seed=boxes), "JPEG")


Told = tuple[str, dict[str, object]]
"""An event's id and its document."""


@contextmanager
def listening(watching: Watching, *, last: str | None = None, query: str = "") -> Iterator[Iterator[Told]]:
    """What the server tells from now on."""
    headers = {"authorization": f"Bearer {KEY}", **({} if last is None else {"last-event-id": last})}
    with httpx.stream("GET", f"{watching.events}{query}", headers=headers, timeout=PATIENCE_S) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield told(answer.iter_lines())


def told(lines: Iterator[str]) -> Iterator[Told]:
    for is_message, group in itertools.groupby(lines, bool):
        message = dict(line.split(": ", 1) for line in group) if is_message else {}
        if "data" in message:
            yield message["id"], json.loads(message["data"])


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_listener_hears_what_happens_from_now_on(watching: Watching) -> None:
    watching.streams.happen(EventType.MOTION_START)
    with listening(watching) as events:
        for type in (EventType.LINE_CROSSED, EventType.MOTION_END):
            event = watching.streams.happen(type)
            assert next(events) == (event.event_id, event.to_json())


def test_listener_goes_on_behind_the_last_event_that_it_heard(watching: Watching) -> None:
    happened = [watching.streams.happen(EventType.LINE_CROSSED) for _ in range(5)]
    with listening(watching, last=happened[1].event_id) as events:
        assert [next(events)[0] for _ in range(3)] == [event.event_id for event in happened[2:]]


def test_listener_chooses_a_stream_and_a_type(watching: Watching) -> None:
    with listening(watching, query="?stream=door&type=motion_end") as events:
        for stream in ("gate", "door"):
            for type in (EventType.MOTION_START, EventType.MOTION_END):
                watching.streams.happen(type, stream)
        _, document = next(events)
    assert (document["stream"], document["type"]) == ("door", "motion_end")
    assert watching.ask("GET", "/v1/events?type=nothing", key=KEY).status_code == 400


def test_listening_lasts_longer_than_a_request_may(watching: Watching) -> None:
    """``max_seconds`` is 1 here."""
    with listening(watching) as events:
        time.sleep(1.5)
        event = watching.streams.happen(EventType.MOTION_END)
        assert next(events) == (event.event_id, event.to_json())


def test_listener_that_hangs_up_is_forgotten(watching: Watching) -> None:
    with listening(watching):
        wait_until(lambda: watching.streams.num_listeners == 1)
    wait_until(lambda: watching.streams.num_listeners == 0)


def test_listeners_are_as_many_as_sockets_may_be(watching: Watching) -> None:
    with listening(watching), listening(watching), listening(watching):
        refused = watching.ask("GET", "/v1/events", key=KEY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    wait_until(lambda: watching.streams.num_listeners == 0)
    with listening(watching):
        pass


def test_head_of_events_ends_at_once(watching: Watching) -> None:
    answer = watching.ask("HEAD", "/v1/events", key=KEY)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_events_need_a_key(watching: Watching) -> None:
    assert watching.ask("GET", "/v1/events", key=None).status_code == 401


def test_listeners_are_sent_home_when_the_server_stops() -> None:
    streams = ListOfStreams(CameraSettings(lake="lake"))
    with serving(keys=(KEY,), streams=streams) as live:
        with listening(Watching(live, streams)) as events:
            live.loop.call_soon_threadsafe(live.service.admission.draining.set)
            assert list(events) == []
        wait_until(lambda: live.service.admission.is_idle and not streams.num_listeners)
        assert live.get("/v1/events", authorization=f"Bearer {KEY}").status_code == 503


def test_server_without_a_lake_watches_nothing_and_says_so(without_lake: Live) -> None:
    admin = {"authorization": f"Bearer {ADMIN}"}
    assert without_lake.get("/v1/streams", **admin).json() == {"streams": []}
    posted = httpx.post(
        f"{without_lake.url}/v1/streams", json={"name": "a", "source": CAMERA}, headers=admin, timeout=PATIENCE_S
    )
    assert (posted.status_code, posted.json()["error"]["code"]) == (403, "forbidden")
    assert "--out LAKE" in posted.json()["error"]["message"]
    for path in ("/v1/events", "/v1/streams/a", "/v1/streams/a/picture"):
        assert without_lake.get(path, **admin).status_code == 404
