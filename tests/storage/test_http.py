"""Objects behind http(s): few requests, faults that pass and faults that last, and secrets that stay secret."""

import logging
from collections.abc import Iterator

import pytest
from web import CONTENT, ObjectServer, object_server

from pipeline.errors import Changed, StorageError, Unreadable
from pipeline.storage.addresses import canonical_uri
from pipeline.storage.reader import Identity
from pipeline.storage.retry import RetryPolicy
from pipeline.storage.schemes import open_reader, stat

QUICK = RetryPolicy(attempts=3, patience_s=0.0, wait_initial_s=0.01, wait_max_s=0.02, jitter_s=0.0)
SECRET = "s3cr3t"


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server() as running:
        yield running


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


def test_the_final_answer_names_the_object_without_its_secrets(server: ObjectServer) -> None:
    server.status = 403
    locator = server.url.replace("http://", f"http://me:{SECRET}@") + f"?token={SECRET}"
    with pytest.raises(Unreadable, match="403") as caught:
        open_reader(locator, retry=QUICK)
    assert caught.value.uri == server.url


def test_http_object_that_is_not_the_expected_one_is_changed(server: ObjectServer) -> None:
    with pytest.raises(Changed):
        open_reader(server.url, expected=Identity(size_bytes=3))


def test_passing_http_failures_are_retried(server: ObjectServer) -> None:
    server.failures = 2
    with open_reader(server.url, retry=QUICK) as reader:
        assert reader.size_bytes == len(CONTENT)


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
