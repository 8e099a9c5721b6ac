"""Reading objects by their address: what comes back, and what each failure counts as."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.errors import Changed, StorageError, Unreadable, UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.storage.addresses import canonical_uri
from pipeline.storage.reader import Identity, video_id
from pipeline.storage.retry import RetryPolicy
from pipeline.storage.schemes import open_reader, stat

QUICK = RetryPolicy(attempts=3, wait_initial_s=0.01, wait_max_s=0.02, jitter_s=0.0)
CONTENT = os.urandom(5_000_000)
SECRET = "s3cr3t"


class ObjectServer(ThreadingHTTPServer):
    """One object on the loopback address, served as the test says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ObjectHandler)
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.has_ranges = True
        self.has_length = True
        self.status = 200
        self.failures = 0
        self.num_broken_bodies = 0
        self.ranges: list[str | None] = []
        self.headers_seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/clips/one.mp4"


class ObjectHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        self.server.headers_seen.append(dict(self.headers) | {"path": self.path})
        if self.server.failures > 0:
            self.server.failures -= 1
            return self.refuse(503)
        if self.server.status != 200:
            return self.refuse(self.server.status)
        return self.answer(wanted)

    def answer(self, wanted: str | None) -> None:
        body = self.server.content
        if wanted and self.server.has_ranges:
            start, end = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            total = len(body)
            if start >= total:
                return self.refuse(416, {"Content-Range": f"bytes */{total}"})
            body = body[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{total}")
        else:
            self.send_response(200)
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        if self.server.has_length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.server.num_broken_bodies > 0:
            self.server.num_broken_bodies -= 1
            body = body[: len(body) // 2]
            self.close_connection = True
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with ObjectServer() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def test_video_id_tells_replacements_apart() -> None:
    first = video_id("/a.mp4", Identity(size_bytes=1, mtime_ns=1))
    assert first == video_id("/a.mp4", Identity(size_bytes=1, mtime_ns=1)) == "de696308ba8c6be3b226"
    others = [Identity(size_bytes=2, mtime_ns=1), Identity(size_bytes=1, mtime_ns=2), Identity(size_bytes=1, etag="1")]
    assert len({first, *(video_id("/a.mp4", other) for other in others)}) == 4


def test_unsupported_scheme_is_a_usage_error_that_names_it() -> None:
    for attempt in (stat, open_reader, backend_at):
        with pytest.raises(UsageError, match="s4://"):
            attempt(f"s4://key:{SECRET}@bucket/a.mp4")


# Local files


def test_local_file_is_read_at_any_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(CONTENT)
    with open_reader(path.as_uri(), expected=stat(str(path))) as reader:
        assert reader.size_bytes == len(CONTENT)
        assert reader.read_at(1000, 5) == CONTENT[1000:1005]
        assert reader.read_at(len(CONTENT) - 3, 100) == CONTENT[-3:]
        assert reader.read_at(len(CONTENT), 1) == b""
        reader.check_unchanged()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"something else")
    os.replace(other, path)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(replace, id="replaced"),
        pytest.param(lambda path: path.write_bytes(b"abcdefgh"), id="rewritten"),
        pytest.param(Path.unlink, id="removed"),
    ],
)
def test_local_file_that_changes_while_it_is_read_is_changed(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abcdefgh")
    os.utime(path, ns=(0, 0))
    with open_reader(str(path)) as reader:
        change(path)
        with pytest.raises(Changed):
            reader.check_unchanged()


def test_local_file_that_shrinks_is_changed_and_never_short(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abcdefgh")
    with open_reader(str(path)) as reader:
        os.truncate(path, 4)
        with pytest.raises(Changed):
            reader.read_at(0, 8)


def test_object_that_is_not_the_expected_one_is_changed(tmp_path: Path, server: ObjectServer) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"abcdefgh")
    for locator in (str(path), server.url):
        with pytest.raises(Changed):
            open_reader(locator, expected=Identity(size_bytes=3))


def test_local_names_without_a_readable_file_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    names = ["absent", "empty", "pipe", "circle", "empty/below", "", "n" * 300, "nul\0byte"]
    for name in names:
        with pytest.raises(Unreadable):
            open_reader(os.path.join(tmp_path, name), retry=QUICK)
    assert stat(str(tmp_path / "empty")).size_bytes == 0


# HTTP


def test_http_object_is_read_in_few_requests(server: ObjectServer) -> None:
    with open_reader(server.url, expected=stat(server.url)) as reader:
        got = b"".join(reader.read_at(at, 65536) for at in range(0, len(CONTENT), 65536))
        assert got == CONTENT
        assert reader.read_at(123, 4) == CONTENT[123:127]
        assert reader.read_at(len(CONTENT) - 3, 100) == CONTENT[-3:]
        assert reader.read_at(0, len(CONTENT)) == CONTENT
        reader.check_unchanged()
    assert len(server.ranges) <= 8


@pytest.mark.parametrize("has_length", [True, False], ids=["with-length", "without-length"])
def test_server_without_ranges_is_asked_once_for_the_whole(server: ObjectServer, has_length: bool) -> None:
    server.has_ranges, server.has_length = False, has_length
    with open_reader(server.url, expected=stat(server.url)) as reader:
        assert reader.size_bytes == len(CONTENT)
        assert reader.read_at(4_000_000, 2_000_000) == CONTENT[4_000_000:]
        assert reader.read_at(0, 10) == CONTENT[:10]
    assert server.ranges.count(None) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 410, 451])
def test_final_http_answers_are_unreadable_at_once(server: ObjectServer, status: int) -> None:
    server.status = status
    locator = server.url.replace("http://", f"http://me:{SECRET}@") + f"?token={SECRET}"
    with pytest.raises(Unreadable, match=str(status)) as caught:
        open_reader(locator, retry=QUICK)
    assert caught.value.uri == server.url
    assert len(server.ranges) == 1


def test_passing_http_failures_are_retried(server: ObjectServer) -> None:
    server.failures = 2
    with open_reader(server.url, retry=QUICK) as reader:
        assert reader.size_bytes == len(CONTENT)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_lasting_http_failures_are_storage_errors(server: ObjectServer, status: int) -> None:
    server.status = status
    with pytest.raises(StorageError, match=str(status)):
        open_reader(server.url, retry=QUICK)
    assert len(server.ranges) == QUICK.attempts


@pytest.mark.parametrize("has_ranges", [True, False], ids=["ranges", "whole"])
def test_connection_that_breaks_mid_body_is_retried(server: ObjectServer, has_ranges: bool) -> None:
    server.has_ranges, server.num_broken_bodies = has_ranges, 2
    with open_reader(server.url, retry=QUICK) as reader:
        assert reader.read_at(0, len(CONTENT)) == CONTENT


def test_no_error_or_log_line_holds_a_secret(server: ObjectServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="stamina")
    signed = f"?X-Amz-Signature={SECRET}&id=7"
    server.num_broken_bodies = 100
    nowhere = f"http://me:{SECRET}@127.0.0.1:1/a.mp4{signed}"
    for locator in (nowhere, server.url + signed):
        with pytest.raises(StorageError) as caught:
            open_reader(locator, retry=QUICK)
        assert canonical_uri(locator) in str(caught.value)
        assert SECRET not in str(caught.value)
    assert SECRET not in "".join(str(record.__dict__) for record in caplog.records)


def test_credentials_and_signature_reach_the_server_as_written(server: ObjectServer) -> None:
    stat(server.url.replace("http://", "http://me:pw@") + "?sig=a%2Bb%2Fc%3D&x=1")
    assert server.headers_seen[0]["path"] == "/clips/one.mp4?sig=a%2Bb%2Fc%3D&x=1"
    assert server.headers_seen[0]["Authorization"].startswith("Basic ")


def test_http_object_that_is_replaced_while_it_is_read_is_changed(server: ObjectServer) -> None:
    with open_reader(server.url, retry=QUICK) as reader:
        server.etag = '"two"'
        with pytest.raises(Changed):
            reader.read_at(4_000_000, 10)
        with pytest.raises(Changed):
            reader.check_unchanged()
        server.status = 404
        with pytest.raises(Changed):
            reader.check_unchanged()


@pytest.mark.parametrize("has_ranges", [True, False])
def test_empty_http_object_is_unreadable(server: ObjectServer, has_ranges: bool) -> None:
    server.content, server.has_ranges = b"", has_ranges
    assert stat(server.url).size_bytes == 0
    with pytest.raises(Unreadable, match="empty"):
        open_reader(server.url, retry=QUICK)
