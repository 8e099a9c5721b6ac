"""Leases in a bucket: a run's death is judged by the store's clock, and a name that was announced is taken from it."""

import json
import signal
import time

import pytest
from other_runs import HOLD, PUBLISH, kill, line, process, stop, tell, worker_inside

from pipeline.errors import UsageError
from pipeline.lake.publishing import bucket_lease, heartbeat, holders
from pipeline.lake.publishing.bucket_lease import INTENTS, REGISTER, BucketBackend
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.records.shards import WHOLE, Shard

# Of the real minute, once it is to pass; a store tells when an object was written to the second.
RUNS_OUT_AFTER_S = 1.0


@pytest.fixture
def lake(bucket_place: str) -> BucketBackend:
    lake = BucketBackend(bucket_place)
    lake.store.ensure_writable()
    return lake


def let_a_minute_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not renewed is too old from now on, and what was looked at before had the real minute."""
    time.sleep(RUNS_OUT_AFTER_S + 1)
    monkeypatch.setattr(holders, "RUNS_OUT_AFTER_S", RUNS_OUT_AFTER_S)


def move_elsewhere(lake: BucketBackend) -> None:
    """Make the holder one whose process cannot be seen from here."""
    document = json.loads(lake.store.read(REGISTER))
    document["holders"]["1-of-1"]["boot_id"] = "another"
    lake.store.publish(REGISTER, json.dumps(document).encode(), overwrite=True)


def written_s(lake: BucketBackend, name: str) -> float:
    written_s = lake.store.modified_s(name)
    assert written_s is not None
    return written_s


def published(lake: BucketBackend) -> bytes:
    [name] = lake.store.list("features")
    return lake.store.read(name)


def test_takeover_blocks_a_worker_between_its_check_and_its_put(lake: BucketBackend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        token = line(first)
        with worker_inside(lake.store.uri, token) as worker:
            stop(worker)
            kill(first)
            began = time.monotonic()
            held = lake.acquire(slot=WHOLE)
            assert time.monotonic() - began < 30, "nothing is waited for"
            tell(worker)
            worker.send_signal(signal.SIGCONT)
            assert line(worker) == "refused"
    assert published(lake) == b"none"
    assert lake.store.list(INTENTS) == []
    is_new = lake.fence(token=held.token).publish("features/x", b"rows", stand_in=b"none")
    assert is_new, "its own name is free"
    held.release()


def test_what_was_put_before_the_takeover_counts(lake: BucketBackend) -> None:
    first = lake.acquire(slot=WHOLE)
    lake.fence(token=first.token).publish("features/x", b"rows", stand_in=b"none")
    first.release()
    # As a worker leaves it that is killed right behind its PUT.
    [name] = lake.store.list("features")
    document = {"name": name, "stand_in": "bm9uZQ=="}
    lake.store.publish(f"{INTENTS}/{first.token}.0.json", json.dumps(document).encode())
    lake.acquire(slot=WHOLE).release()
    assert published(lake) == b"rows"
    assert lake.store.list(INTENTS) == []


def test_worker_that_died_before_its_put_leaves_a_stand_in(lake: BucketBackend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        token = line(first)
        with worker_inside(lake.store.uri, token) as worker:
            kill(worker)
        kill(first)
    assert len(lake.store.list(INTENTS)) == 1
    lake.acquire(slot=Shard(index=1, count=3)).release()
    assert published(lake) == b"none"
    assert lake.store.list(INTENTS) == []


def test_worker_of_a_living_shard_is_not_blocked_by_another_ones_start(lake: BucketBackend) -> None:
    with process(HOLD, lake.store.uri, "1/2") as first:
        token = line(first)
        with worker_inside(lake.store.uri, token) as worker:
            lake.acquire(slot=Shard(index=2, count=2)).release()
            tell(worker)
            assert line(worker) == "published"
    assert published(lake) == b"rows"


def test_a_run_elsewhere_holds_until_it_has_not_been_renewed_for_a_minute(
    lake: BucketBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        line(first)
        move_elsewhere(lake)
        stop(first)
        for refused in (lake.check, lake.acquire):
            with pytest.raises(UsageError, match="in use"):
                refused(slot=WHOLE)
        let_a_minute_pass(monkeypatch)
        lake.check(slot=WHOLE)
        lake.acquire(slot=WHOLE).release()


def test_a_run_elsewhere_that_is_renewed_keeps_its_lease(lake: BucketBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.2)
    held = lake.acquire(slot=WHOLE)
    move_elsewhere(lake)
    beat = bucket_lease._beat(held.token)
    first_s = renewed_s = written_s(lake, beat)
    deadline = time.monotonic() + 60
    while renewed_s < first_s + 3:
        assert time.monotonic() < deadline, "it was renewed no more"
        time.sleep(0.1)
        renewed_s = written_s(lake, beat)
    monkeypatch.setattr(holders, "RUNS_OUT_AFTER_S", renewed_s - first_s)  # its first sign of life is too old
    with pytest.raises(UsageError, match="in use"):
        lake.acquire(slot=WHOLE)
    held.release()


def test_run_that_was_stopped_for_minutes_publishes_nothing_when_it_goes_on(
    lake: BucketBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        token = line(first)
        move_elsewhere(lake)
        stop(first)
        let_a_minute_pass(monkeypatch)
        lake.acquire(slot=WHOLE)
        first.send_signal(signal.SIGCONT)
        with process(PUBLISH, lake.store.uri, token) as worker:
            line(worker)
            tell(worker)
            assert line(worker) == "refused"
    assert lake.store.list("features") == []


def test_lease_that_was_taken_over_is_not_renewed(lake: BucketBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.05)
    held = lake.acquire(slot=WHOLE)
    lake.store.publish(REGISTER, b'{"holders": {}}', overwrite=True)
    held._heartbeat._thread.join(10)
    assert not held._heartbeat.is_beating


def test_damaged_register_is_respected_for_a_minute(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [b"", b"[1]", b'{"holders": {"1-of-1": {"token": "abc"}}}', b"\xff\xfe"]
    lakes = [BucketBackend(f"{bucket}/lake-{number}") for number in range(len(contents))]
    for lake, content in zip(lakes, contents, strict=True):
        token = lake.acquire(slot=WHOLE).token
        lake.store.publish(REGISTER, content, overwrite=True)
        with pytest.raises(UsageError, match="its lease is damaged"):
            lake.acquire(slot=WHOLE)
        with pytest.raises(LeaseLost):
            lake.fence(token=token).remove("x")
    let_a_minute_pass(monkeypatch)  # once for all of them
    for lake in lakes:
        lake.acquire(slot=WHOLE).release()
