"""One run a shard at a time, wherever the dataset lies: who may take a lease, and what a lost one still allows."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from other_runs import HOLD, PUBLISH, kill, line, process, stop, tell

from pipeline.errors import RunError, StorageError, UsageError
from pipeline.lake.publishing import bucket_lease, heartbeat
from pipeline.lake.publishing.backends import backend_at, leased
from pipeline.lake.publishing.bucket_lease import BucketBackend, BucketLease
from pipeline.lake.publishing.folder_lease import FolderLease
from pipeline.lake.publishing.holders import LeaseLost
from pipeline.lake.publishing.lease import Backend, Lease
from pipeline.lake.publishing.slots import FILL, Slot, StreamSlot
from pipeline.records.shards import WHOLE, Shard

FIRST, SECOND = Shard(index=1, count=2), Shard(index=2, count=2)


@pytest.fixture
def lake(place: str) -> Backend:
    """A dataset that exists, in a folder or in a bucket."""
    lake = backend_at(place)
    lake.store.ensure_writable()
    return lake


def edit(lake: Backend, slot: str, **values: Any) -> None:
    """Make a lease another holder's."""
    is_register = isinstance(lake, BucketBackend)
    name = bucket_lease.REGISTER if is_register else f"_vidlake/leases/{slot}.json"
    document = json.loads(lake.store.read(name))
    holder = document["holders"][slot] if is_register else document
    holder.update(values)
    lake.store.publish(name, json.dumps(document).encode(), overwrite=True)


def test_second_run_is_refused_while_the_first_lives(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        line(first)
        for refused in (lake.acquire, lake.check):
            with pytest.raises(UsageError, match=f"in use by another run .process {first.pid} on .*wait for it to end"):
                refused(slot=WHOLE)


def test_second_run_in_the_same_process_is_refused(lake: Backend) -> None:
    held = lake.acquire(slot=WHOLE)
    with pytest.raises(UsageError, match="in use"):
        lake.acquire(slot=WHOLE)
    held.release()
    lake.acquire(slot=WHOLE).release()


def test_a_dead_run_does_not_block(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        token = line(first)
        kill(first)
        lake.check(slot=WHOLE)
        held = lake.acquire(slot=WHOLE)
    assert held.token != token
    held.release()
    with pytest.raises(LeaseLost):
        lake.fence(token=held.token).remove("x")


def test_a_run_that_nobody_has_waited_for_does_not_block(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        line(first)
        first.kill()
        os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie
        lake.acquire(slot=WHOLE).release()


def test_another_process_under_a_dead_runs_pid_does_not_block(lake: Backend) -> None:
    lake.acquire(slot=WHOLE)
    edit(lake, "1-of-1", start_ticks=1)
    lake.acquire(slot=WHOLE).release()


def test_a_run_that_is_stopped_is_not_dead(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        line(first)
        stop(first)
        with pytest.raises(UsageError, match="in use"):
            lake.acquire(slot=WHOLE)


def test_stale_worker_cannot_publish_after_takeover(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        token = line(first)
        with process(PUBLISH, lake.store.uri, token) as worker:
            assert line(worker) == "ready"
            kill(first)
            held = lake.acquire(slot=WHOLE)
            tell(worker)
            assert line(worker) == "refused"
    assert lake.store.list("features") == []
    held.release()


def test_a_stale_token_changes_nothing(lake: Backend) -> None:
    stale = lake.fence(token=lake.acquire(slot=WHOLE).token)
    edit(lake, "1-of-1", start_ticks=1)
    lake.store.publish("videos/x", b"old")
    version = lake.store.version("videos/x")
    lake.acquire(slot=WHOLE)
    for change in (
        lambda: stale.publish("features/x", b"rows", stand_in=b"none"),
        lambda: stale.replace("videos/x", b"new", version=version),
        lambda: stale.remove("videos/x"),
    ):
        with pytest.raises(LeaseLost, match="taken over by another run"):
            change()
    assert (lake.store.list("features"), lake.store.read("videos/x")) == ([], b"old")


def test_shards_of_one_number_go_on_side_by_side(lake: Backend) -> None:
    first, second = (lake.acquire(slot=shard) for shard in (FIRST, SECOND))
    for held in (first, second):
        assert lake.fence(token=held.token).publish(f"features/{held.token}", b"rows", stand_in=b"none")
    with pytest.raises(UsageError, match=r"in use by another run .shard 2/2, process"):
        lake.acquire(slot=SECOND)
    first.release()
    lake.acquire(slot=FIRST).release()
    assert lake.fence(token=second.token).publish("features/x", b"rows", stand_in=b"none")


@pytest.mark.parametrize(
    ("shard", "advice"),
    [
        pytest.param(WHOLE, "start shards I/2 beside it, or wait", id="the-whole"),
        pytest.param(Shard(index=2, count=3), "start shards I/2 beside it, or wait", id="another-number"),
    ],
)
def test_another_number_of_shards_is_refused_while_one_lives(lake: Backend, shard: Shard, advice: str) -> None:
    held = lake.acquire(slot=SECOND)
    for refused in (lake.check, lake.acquire):
        with pytest.raises(UsageError, match=rf"shard 2/2, process .*{advice}"):
            refused(slot=shard)
    held.release()
    other = lake.acquire(slot=shard)
    with pytest.raises(UsageError, match="in use"):
        lake.acquire(slot=SECOND)
    other.release()


def test_dead_shards_of_another_number_publish_nothing_more(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/2") as one, process(HOLD, lake.store.uri, "2/2") as other:
        tokens = line(one), line(other)
        kill(one)
        kill(other)
        lake.acquire(slot=WHOLE).release()
    for token in tokens:
        with pytest.raises(LeaseLost):
            lake.fence(token=token).publish("features/x", b"rows", stand_in=b"none")


def test_the_other_shards_worker_goes_on_after_its_driver_died(lake: Backend) -> None:
    """It belongs to no other run yet, and what it publishes counts."""
    with process(HOLD, lake.store.uri, "1/2") as first:
        token = line(first)
        kill(first)
    lake.acquire(slot=SECOND)
    assert lake.fence(token=token).publish("features/x", b"rows", stand_in=b"none")


@pytest.mark.slow
def test_of_many_that_start_at_once_the_winners_fit_together(lake: Backend) -> None:
    shards = ["1/1", "1/1", "1/2", "2/2", "2/2", "1/3", "3/3"]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(process(HOLD, lake.store.uri, shard)) for shard in shards]
        answers = [line(run) for run in started]
        won = [shard for shard, answer in zip(shards, answers, strict=True) if not answer.startswith("refused")]
        assert len({shard.partition("/")[2] for shard in won}) == 1
        assert len(set(won)) == len(won) > 0


def test_of_two_that_take_over_at_once_one_wins(lake: Backend) -> None:
    with process(HOLD, lake.store.uri, "1/1") as first:
        line(first)
        kill(first)
    for _ in range(5):
        tokens: list[str] = []

        def take(tokens: list[str] = tokens) -> None:
            with contextlib.suppress(UsageError):
                tokens.append(lake.acquire(slot=WHOLE).token)

        takers = [threading.Thread(target=take) for _ in range(4)]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
        assert len(tokens) == 1
        edit(lake, "1-of-1", start_ticks=1)


def test_release_leaves_the_lease_of_another_run_alone(lake: Backend) -> None:
    held = lake.acquire(slot=WHOLE)
    edit(lake, "1-of-1", token="1-of-1.another")
    held.release()
    assert lake.fence(token="1-of-1.another").publish("features/x", b"rows", stand_in=b"none")


def test_checking_where_there_is_no_dataset_finds_no_lease_and_writes_nothing(place: str) -> None:
    backend_at(place).check(slot=WHOLE)
    assert backend_at(place).store.list("_vidlake/leases") == []


def renew_by(monkeypatch: pytest.MonkeyPatch, renew: Callable[..., None]) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.02)
    for lease in (FolderLease, BucketLease):
        monkeypatch.setattr(lease, "_renew", renew)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError(), ValueError("whatever")])
def test_a_run_ends_when_its_lease_cannot_be_renewed_for_an_unforeseen_reason(
    lake: Backend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    is_broken = threading.Event()

    def fail(_: Lease) -> None:
        if is_broken.is_set():
            raise error

    def run() -> None:
        with leased(lake, slot=WHOLE):
            is_broken.set()
            time.sleep(60)

    renew_by(monkeypatch, fail)
    began = time.monotonic()
    with pytest.raises(RunError, match=f"could not be renewed .{type(error).__name__}"):
        run()
    assert time.monotonic() - began < 30
    is_broken.clear()
    lake.acquire(slot=WHOLE).release()


@pytest.mark.parametrize("error", [StorageError("busy"), OSError("busy")])
def test_a_run_goes_on_when_renewing_fails_for_a_while(
    lake: Backend, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    beats = threading.Semaphore(0)

    def fail(_: Lease) -> None:
        beats.release()
        raise error

    renew_by(monkeypatch, fail)
    with leased(lake, slot=WHOLE):
        assert all(beats.acquire(timeout=10) for _ in range(3))


def test_an_interrupted_run_stays_an_interrupted_run(lake: Backend) -> None:
    with pytest.raises(KeyboardInterrupt), leased(lake, slot=WHOLE):
        raise KeyboardInterrupt
    lake.acquire(slot=WHOLE).release()


GATE, DOOR = StreamSlot(stream="gate"), StreamSlot(stream="door.2-of-3")


@pytest.mark.parametrize("slot", [GATE, DOOR, FILL], ids=lambda slot: slot.key)
def test_a_stream_and_fill_have_one_writer(lake: Backend, slot: Slot) -> None:
    held = lake.acquire(slot=slot)
    for refused in (lake.check, lake.acquire):
        with pytest.raises(UsageError, match=rf"in use by another run .{slot.shown}, process .* or stop it"):
            refused(slot=slot)
    held.release()
    lake.acquire(slot=slot).release()


def test_streams_fill_and_the_shards_of_a_run_go_on_side_by_side(lake: Backend) -> None:
    slots: list[Slot] = [FIRST, GATE, FILL, DOOR, SECOND]
    leases = [lake.acquire(slot=slot) for slot in slots]
    for held in leases:
        assert lake.fence(token=held.token).publish(f"features/{held.token}", b"rows", stand_in=b"none")
    with pytest.raises(UsageError, match="shard 1/2"):
        lake.acquire(slot=WHOLE)
    for held in leases[::4]:
        held.release()
    lake.acquire(slot=WHOLE).release()
    for held in leases[1:4]:
        assert lake.fence(token=held.token).publish(f"features/{held.token}.2", b"rows", stand_in=b"none")
