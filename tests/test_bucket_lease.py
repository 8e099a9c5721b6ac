"""Leases in a bucket: a run's death is judged by the store's clock, and a name that was announced is taken from it."""

import json
import signal
import time

import pytest
from other_runs import HOLD, PUBLISH, PUBLISH_HALTING, kill, line, process, stop, tell

from pipeline import bucket_lease, lease
from pipeline.bucket_lease import INTENTS, REGISTER
from pipeline.bucket_store import BucketStore
from pipeline.config import WHOLE, Shard
from pipeline.errors import UsageError
from pipeline.lease import LeaseLost

# Of the real minute; a store tells when an object was written to the second.
RUNS_OUT_AFTER_S = 3.0


@pytest.fixture
def store(bucket_place: str) -> BucketStore:
    store = BucketStore(bucket_place)
    store.ensure_writable()
    return store


@pytest.fixture
def short_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_lease, "RUNS_OUT_AFTER_S", RUNS_OUT_AFTER_S)


def move_elsewhere(store: BucketStore) -> None:
    """Make the holder one whose process cannot be seen from here."""
    document = json.loads(store.read(REGISTER))
    document["holders"]["1-of-1"]["boot_id"] = "another"
    store.publish(REGISTER, json.dumps(document).encode(), overwrite=True)


def test_takeover_blocks_a_worker_between_its_check_and_its_put(store: BucketStore) -> None:
    with process(HOLD, store.uri, "1/1") as first:
        token = line(first)
        with process(PUBLISH_HALTING, store.uri, token) as worker:
            line(worker)
            tell(worker)
            assert line(worker) == "inside"
            stop(worker)
            kill(first)
            began = time.monotonic()
            held = lease.acquire(store, shard=WHOLE)
            assert time.monotonic() - began < 5, "nothing is waited for"
            tell(worker)
            worker.send_signal(signal.SIGCONT)
            assert line(worker) == "refused"
    assert store.read("features/x") == b"none"
    assert store.list(INTENTS) == []
    held.release()


def test_what_was_put_before_the_takeover_counts(store: BucketStore) -> None:
    first = lease.acquire(store, shard=WHOLE)
    lease.fence(store, token=first.token).publish("features/x", b"rows", stand_in=b"none")
    first.release()
    # As a worker leaves it that is killed right behind its PUT.
    document = {"name": "features/x", "stand_in": "bm9uZQ=="}
    store.publish(f"{INTENTS}/{first.token}.0.json", json.dumps(document).encode())
    lease.acquire(store, shard=WHOLE).release()
    assert store.read("features/x") == b"rows"
    assert store.list(INTENTS) == []


def test_worker_that_died_before_its_put_leaves_a_stand_in(store: BucketStore) -> None:
    with process(HOLD, store.uri, "1/1") as first:
        token = line(first)
        with process(PUBLISH_HALTING, store.uri, token) as worker:
            line(worker)
            tell(worker)
            assert line(worker) == "inside"
            kill(worker)
        kill(first)
    assert len(store.list(INTENTS)) == 1
    lease.acquire(store, shard=Shard(index=1, count=3)).release()
    assert store.read("features/x") == b"none"
    assert store.list(INTENTS) == []


def test_worker_of_a_living_shard_is_not_blocked_by_another_ones_start(store: BucketStore) -> None:
    with process(HOLD, store.uri, "1/2") as first:
        token = line(first)
        with process(PUBLISH_HALTING, store.uri, token) as worker:
            line(worker)
            tell(worker)
            assert line(worker) == "inside"
            lease.acquire(store, shard=Shard(index=2, count=2)).release()
            tell(worker)
            assert line(worker) == "published"
    assert store.read("features/x") == b"rows"


@pytest.mark.usefixtures("short_minute")
def test_a_run_elsewhere_holds_until_it_has_not_been_renewed_for_a_minute(store: BucketStore) -> None:
    with process(HOLD, store.uri, "1/1") as first:
        line(first)
        move_elsewhere(store)
        for refused in (lease.check, lease.acquire):
            with pytest.raises(UsageError, match="in use"):
                refused(store, shard=WHOLE)
        time.sleep(RUNS_OUT_AFTER_S + 1)
        lease.check(store, shard=WHOLE)
        lease.acquire(store, shard=WHOLE).release()


@pytest.mark.usefixtures("short_minute")
def test_a_run_elsewhere_that_is_renewed_keeps_its_lease(store: BucketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_lease, "RENEWED_EVERY_S", 0.5)
    held = lease.acquire(store, shard=WHOLE)
    move_elsewhere(store)
    time.sleep(RUNS_OUT_AFTER_S + 1)
    with pytest.raises(UsageError, match="in use"):
        lease.acquire(store, shard=WHOLE)
    held.release()


@pytest.mark.usefixtures("short_minute")
def test_run_that_was_stopped_for_minutes_publishes_nothing_when_it_goes_on(store: BucketStore) -> None:
    with process(HOLD, store.uri, "1/1") as first:
        token = line(first)
        move_elsewhere(store)
        stop(first)
        time.sleep(RUNS_OUT_AFTER_S + 1)
        lease.acquire(store, shard=WHOLE)
        first.send_signal(signal.SIGCONT)
        with process(PUBLISH, store.uri, token) as worker:
            line(worker)
            tell(worker)
            assert line(worker) == "refused"
    assert store.list("features") == []


def test_lease_that_was_taken_over_is_not_renewed(store: BucketStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_lease, "RENEWED_EVERY_S", 0.05)
    held = bucket_lease.BucketLease.acquire(store, shard=WHOLE)
    store.publish(REGISTER, b'{"holders": {}}', overwrite=True)
    held._thread.join(10)
    assert not held._thread.is_alive()


@pytest.mark.usefixtures("short_minute")
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"holders": {"1-of-1": {"token": "abc"}}}', b"\xff\xfe"])
def test_damaged_register_is_respected_for_a_minute(store: BucketStore, content: bytes) -> None:
    token = lease.acquire(store, shard=WHOLE).token
    store.publish(REGISTER, content, overwrite=True)
    with pytest.raises(UsageError, match="its lease is damaged"):
        lease.acquire(store, shard=WHOLE)
    with pytest.raises(LeaseLost):
        lease.fence(store, token=token).remove("x")
    time.sleep(RUNS_OUT_AFTER_S + 1)
    lease.acquire(store, shard=WHOLE).release()
