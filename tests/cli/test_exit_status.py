"""A signal that ends a command: the exit status and the line tell of it, whatever a library made of it on its way."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import click
import pytest

from pipeline.cli.exit_status import StopSignals, exit_status_of
from pipeline.errors import RunError


@pytest.fixture(autouse=True)
def _handlers_of_pytest() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def turned_into(error: Exception) -> Callable[[signal.Signals], int]:
    """A library that raises an error of its own, whatever is raised in its midst."""

    def call(number: signal.Signals) -> int:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error from None
        return 0

    return call


def left_alone(number: signal.Signals) -> int:
    signal.raise_signal(number)
    return 0


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize(
    "call",
    [
        pytest.param(left_alone, id="as it is"),
        pytest.param(turned_into(click.Abort()), id="click"),
        pytest.param(turned_into(ValueError("Error building a model: KeyboardInterrupt")), id="a fault"),
        pytest.param(turned_into(RunError("Ray does not start")), id="an error of ours"),
        pytest.param(turned_into(click.UsageError("no such model")), id="a wrong word"),
        pytest.param(turned_into(OSError(28, "No space left on device")), id="a full disk"),
    ],
)
def test_signal_is_the_exit_status_whatever_it_was_turned_into(
    call: Callable[[signal.Signals], int],
    number: signal.Signals,
    status: int,
    word: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    signals = StopSignals()
    signals.handle()
    assert exit_status_of(lambda: call(number), signals) == status
    assert capsys.readouterr().err == f"vidlake: {word}; run the same command again to resume\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_that_is_lost_or_finds_the_command_stuck_is_sent_again(
    number: signal.Signals, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.cli.exit_status._AGAIN_AFTER_S", 0.3)
    cleaning: list[str] = []

    def call() -> int:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(number)
        try:
            time.sleep(200)
        finally:
            try:
                time.sleep(200)
            finally:
                cleaning.append("done")
        return 0

    signals = StopSignals()
    signals.handle()
    assert exit_status_of(call, signals) == status
    assert cleaning == ["done"]
    time.sleep(0.7)  # nothing is sent to a command that has ended


def test_error_without_a_signal_is_itself(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise RunError("Ray does not start")

    assert exit_status_of(fail, StopSignals()) == 1
    assert capsys.readouterr().err == "vidlake: Ray does not start\n"


def test_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    StopSignals().handle()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_while_the_server_imports_is_seen_through_what_a_library_made_of_it(number: signal.Signals) -> None:
    from serve.local import StopRequest

    stop = StopRequest()
    with pytest.raises(KeyboardInterrupt) as raised, stop.seen_through():
        turned_into(RunError("the replica does not start"))(number)
    assert raised.value.args == (number,)
