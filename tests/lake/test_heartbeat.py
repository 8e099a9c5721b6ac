"""The thread that renews a lease, and how it interrupts a run that will have no lease."""

import signal
import threading
import time

import pytest

from pipeline.errors import RunError
from pipeline.lake.publishing import heartbeat
from pipeline.lake.publishing.heartbeat import Heartbeat


def fail() -> None:
    raise MemoryError


@pytest.fixture(autouse=True)
def beats_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "RENEWED_EVERY_S", 0.02)


def interrupted_after(*, ends_in_s: float) -> float:
    """How long a run went on that would sleep for a minute, and takes so long to end."""
    is_running, slept_s = threading.Event(), []

    def beat() -> None:
        if is_running.is_set():
            fail()

    def run() -> None:
        with Heartbeat(beat).guard("s3://bucket/lake"):
            began = time.monotonic()
            try:
                is_running.set()
                time.sleep(60)
            finally:
                slept_s.append(time.monotonic() - began)
                time.sleep(ends_in_s)

    with pytest.raises(RunError, match=r"could not be renewed \(MemoryError"):
        run()
    return slept_s[0]


def test_run_that_is_about_to_wait_when_it_is_interrupted_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    send, sent = signal.pthread_kill, []

    def lose_the_first(thread: int, number: int) -> None:
        sent.append(number)
        if len(sent) > 1:
            send(thread, number)

    monkeypatch.setattr(signal, "pthread_kill", lose_the_first)
    assert interrupted_after(ends_in_s=0) < 30
    assert sent[:2] == [signal.SIGUSR2] * 2


def test_interrupted_run_ends_undisturbed_and_the_signal_means_what_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_WOKEN_AGAIN_AFTER_S", 0.01)
    before = signal.getsignal(signal.SIGUSR2)
    assert interrupted_after(ends_in_s=0.5) < 30
    assert signal.getsignal(signal.SIGUSR2) == before


def test_lease_that_failed_before_the_run_interrupts_it_as_it_begins() -> None:
    beat = Heartbeat(fail)
    while beat.is_beating:
        time.sleep(0.01)
    with pytest.raises(RunError, match="could not be renewed"), beat.guard("s3://bucket/lake"):
        raise AssertionError("it has begun")
