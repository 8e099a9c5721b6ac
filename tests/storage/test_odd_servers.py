"""Servers that answer oddly: what is the object's fault, what is the server's, and how long the server may fail."""

import contextlib
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest
from web import CONTENT, ObjectHandler, ObjectServer, object_server

from pipeline.errors import Changed, StorageError, Unreadable
from pipeline.storage.reader import video_id
from pipeline.storage.retry import DEFAULT_RETRY, NoAnswer, RetryPolicy, Transient, persistently
from pipeline.storage.schemes import open_reader, stat

QUICK = RetryPolicy(attempts=3, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.02, jitter_s=0.0)


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as running:
        yield running


# By number

ABOUT_THE_OBJECT = [201, 202, 204, 205, 300, 304, 400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414]
ABOUT_THE_OBJECT += [415, 417, 418, 422, 423, 424, 426, 428, 431, 451, 499]
ABOUT_THE_SERVER = [407, 408, 421, 425, 429, 500, 501, 502, 503, 504, 505, 507, 511, 520, 599]


@pytest.mark.parametrize("status", ABOUT_THE_OBJECT)
def test_an_answer_about_one_object_is_unreadable_at_once(server: ObjectServer, status: int) -> None:
    server.status = status
    for ask in (stat, open_reader):
        with pytest.raises(Unreadable, match=str(status)):
            ask(server.url)
    assert len(server.ranges) <= 4


@pytest.mark.parametrize("status", ABOUT_THE_SERVER)
def test_an_answer_about_the_server_is_tried_again_and_then_stops_the_run(server: ObjectServer, status: int) -> None:
    server.status = status
    with pytest.raises(StorageError, match=str(status)):
        open_reader(server.url, retry=QUICK)
    assert len(server.ranges) == QUICK.attempts


@pytest.mark.parametrize("status", [404, 410])
def test_an_object_that_disappears_while_it_is_read_is_changed(server: ObjectServer, status: int) -> None:
    with open_reader(server.url, retry=QUICK) as reader:
        server.status = status
        with pytest.raises(Changed):
            reader.check_unchanged()


# By range


def refuse_ranges(headers: dict[str, str]) -> Callable[[ObjectHandler, str | None], bool]:
    def answer(handler: ObjectHandler, wanted: str | None) -> bool:
        if wanted:
            handler.refuse(416, headers)
        return wanted is not None

    return answer


@pytest.mark.parametrize("headers", [{}, {"Content-Range": f"bytes */{len(CONTENT)}"}, {"Content-Range": "bytes */*"}])
def test_an_object_whose_ranges_are_refused_is_read_whole(server: ObjectServer, headers: dict[str, str]) -> None:
    server.odd_answer = refuse_ranges(headers)
    assert stat(server.url).size_bytes == len(CONTENT)
    with open_reader(server.url, expected=stat(server.url), retry=QUICK) as reader:
        assert reader.read_at(1_000_000, 1_000) == CONTENT[1_000_000:1_001_000]


def send(handler: ObjectHandler, body: bytes, headers: dict[str, str]) -> bool:
    handler.send_response(206)
    for name, text in headers.items():
        handler.send_header(name, text)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.wfile.write(body)
    return True


def another_range(handler: ObjectHandler, wanted: str | None) -> bool:
    return send(handler, b"other", {"Content-Range": f"bytes 7-11/{len(CONTENT)}"})


def an_empty_range(handler: ObjectHandler, wanted: str | None) -> bool:
    return send(handler, b"", {"Content-Range": f"bytes 0-0/{len(CONTENT)}"})


def more_than_asked(handler: ObjectHandler, wanted: str | None) -> bool:
    return send(handler, bytes(50_000_000), {"Content-Range": f"bytes 0-49999999/{len(CONTENT)}"})


@pytest.mark.parametrize("answer", [another_range, an_empty_range, more_than_asked])
def test_a_range_that_was_not_asked_for_is_tried_again_and_then_the_objects_fault(
    server: ObjectServer, answer: Callable[[ObjectHandler, str | None], bool]
) -> None:
    server.odd_answer = answer
    with pytest.raises(Unreadable, match="asked for"):
        open_reader(server.url, retry=QUICK)
    assert len(server.ranges) == QUICK.attempts

    def once(handler: ObjectHandler, wanted: str | None) -> bool:
        server.odd_answer = None
        return answer(handler, wanted)

    server.odd_answer = once
    with open_reader(server.url, retry=QUICK) as reader:
        assert reader.read_at(0, 5) == CONTENT[:5]


def test_a_part_that_does_not_say_which_part_it_is_makes_the_whole_be_read(server: ObjectServer) -> None:
    server.odd_answer = lambda handler, wanted: bool(wanted) and send(handler, b"some", {})
    with open_reader(server.url, retry=QUICK) as reader:
        assert reader.read_at(0, len(CONTENT)) == CONTENT


# By validator


@pytest.fixture
def moody(server: ObjectServer) -> ObjectServer:
    """A server that names another etag each time, as mirrors behind one address do."""
    server.last_modified = formatdate(1_700_000_000, usegmt=True)
    answer = ObjectHandler.answer

    def odd(handler: ObjectHandler, wanted: str | None) -> bool:
        server.etag = f'W/"{len(server.ranges)}"'
        answer(handler, wanted)
        return True

    server.odd_answer = odd
    return server


@pytest.mark.parametrize("has_ranges", [True, False])
def test_weak_etags_that_differ_from_answer_to_answer_do_not_change_an_object(
    moody: ObjectServer, has_ranges: bool
) -> None:
    moody.has_ranges = has_ranges
    first, second = stat(moody.url), stat(moody.url)
    assert first.etag != second.etag
    assert video_id(moody.url, first) == video_id(moody.url, second)
    with open_reader(moody.url, expected=first) as reader:
        assert reader.read_at(4_000_000, 1_000) == CONTENT[4_000_000:4_001_000]
        reader.check_unchanged()


def modify(server: ObjectServer) -> None:
    server.last_modified = formatdate(1_700_000_001, usegmt=True)


def lengthen(server: ObjectServer) -> None:
    server.content = CONTENT + b"more"


@pytest.mark.parametrize("change", [modify, lengthen])
def test_behind_weak_etags_time_and_length_tell_a_change(
    moody: ObjectServer, change: Callable[[ObjectServer], None]
) -> None:
    with open_reader(moody.url) as reader:
        change(moody)
        with pytest.raises(Changed):
            reader.check_unchanged()


def test_a_strong_etag_tells_a_change_by_itself(server: ObjectServer) -> None:
    server.last_modified = formatdate(1_700_000_000, usegmt=True)
    first = stat(server.url)
    server.etag = '"two"'
    assert video_id(server.url, first) != video_id(server.url, stat(server.url))
    with pytest.raises(Changed):
        open_reader(server.url, expected=first)


# By redirect


def redirect_to(target: str) -> Callable[[ObjectHandler, str | None], bool]:
    def answer(handler: ObjectHandler, wanted: str | None) -> bool:
        if handler.path.startswith("/clips/one"):
            handler.refuse(302, {"Location": target})
            return True
        return False

    return answer


def test_a_redirects_signature_is_sent_as_written(server: ObjectServer) -> None:
    server.odd_answer = redirect_to("/signed/a%2Fb.mp4?sig=a%2Bb%2fc%3D&q='x'|[1]")
    with open_reader(server.url, retry=QUICK) as reader:
        assert reader.read_at(0, 10) == CONTENT[:10]
    assert server.headers_seen[-1]["path"] == "/signed/a%2Fb.mp4?sig=a%2Bb%2fc%3D&q='x'|[1]"


def test_a_login_is_not_told_to_another_server(server: ObjectServer) -> None:
    with object_server() as other:
        server.odd_answer = redirect_to(other.url)
        stat(server.url.replace("http://", "http://me:pw@"))
        assert "Authorization" in server.headers_seen[0]
        assert "Authorization" not in other.headers_seen[0]


@pytest.mark.parametrize(
    "target", ["/clips/one.mp4", "file:///etc/passwd", "ftp://host/x", "http://", "http://host:0/x", "http://h:99999/x"]
)
def test_a_redirect_to_nowhere_is_the_objects_fault(server: ObjectServer, target: str) -> None:
    server.odd_answer = redirect_to(target)
    with pytest.raises(Unreadable):
        stat(server.url)


# By time


class Clock:
    """Stands still but while somebody sleeps, and while a call takes its time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("call_s", [0.0, 1.0, 20.0, 70.0], ids=["at-once", "a-second", "timeouts", "long-timeouts"])
def test_a_store_may_fail_for_a_minute_before_the_run_does(clock: Clock, call_s: float) -> None:
    tries: list[float] = []

    def fail() -> None:
        tries.append(clock.now_s)
        clock.sleep(call_s)
        raise Transient("busy")

    with pytest.raises(NoAnswer, match="s3://b/a: busy; run the same command again once the store answers"):
        persistently(fail, uri="s3://b/a", retry=DEFAULT_RETRY)
    assert 60 <= clock.now_s - 1000 <= 160
    assert 2 <= len(tries) <= 10


def test_a_store_that_answers_within_the_minute_is_survived(clock: Clock) -> None:
    def answer() -> str:
        if clock.now_s < 1058:
            raise Transient("busy")
        return "there"

    assert persistently(answer, uri="s3://b/a", retry=DEFAULT_RETRY) == "there"


@pytest.mark.parametrize(
    ("retry_after", "waited_s"),
    [
        pytest.param("7", (7, 9), id="seconds"),
        pytest.param("90", (90, 91), id="longer-than-our-patience"),
        pytest.param("999999999", (120, 121), id="absurd"),
        pytest.param("-5", (1, 2), id="negative"),
        pytest.param("soon", (1, 2), id="no-time"),
        pytest.param(lambda: formatdate(time.time() + 30, usegmt=True), (10, 31), id="date"),
        pytest.param("Thu, 01 Jan 1970 00:00:00 GMT", (1, 2), id="past-date"),
    ],
)
def test_a_server_says_how_long_to_leave_it_alone(
    server: ObjectServer, monkeypatch: pytest.MonkeyPatch, retry_after: object, waited_s: tuple[float, float]
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    server.failures = 1
    server.refusal = {"Retry-After": str(retry_after() if callable(retry_after) else retry_after)}
    assert stat(server.url, retry=DEFAULT_RETRY).size_bytes == len(CONTENT)
    assert waited_s[0] <= max(waits) <= waited_s[1]
