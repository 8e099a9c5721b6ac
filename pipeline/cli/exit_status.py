"""What a command leaves with, and the one line that says why: the one place that turns errors into messages."""

import errno
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from types import FrameType

import click

from pipeline.errors import RunError, UsageError

FAILED = 1
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_AGAIN_AFTER_S = 5.0
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class StopSignals:
    """SIGINT and SIGTERM: each raises ``KeyboardInterrupt``, and the first is kept.

    For a library in the middle of a call may turn what is raised into an error of its own, as click and pydantic do.
    What is raised may also be lost, as in a ``__del__``, or find the command in a call that does not come back: the
    signal is sent again every few seconds until the command ends.
    """

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._is_over = threading.Event()

    def handle(self) -> None:
        """Take them from now on, but for those that are ignored, as a shell has its background jobs ignore SIGINT."""
        for number in _WORDS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def over(self) -> None:
        """The command has ended, and no signal is sent again."""
        self._is_over.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signal.Signals(number)
            threading.Thread(target=self._send_again, args=(self.first,), name="stop", daemon=True).start()
        raise KeyboardInterrupt

    def _send_again(self, number: signal.Signals) -> None:
        while not self._is_over.wait(_AGAIN_AFTER_S):
            signal.pthread_kill(threading.main_thread().ident or 0, number)


def exit_status_of(call: Callable[[], int | None], signals: StopSignals) -> int:
    """What ``call`` returns, or the exit status of what it raises, once that is said in one line."""
    try:
        return call() or 0
    except BaseException as error:  # noqa: BLE001  a user sees one line, whatever escapes
        signals.over()
        if signals.first:
            return _complain_of_stop(signals.first)
        return _complain_of(error)


def _complain_of_stop(number: signal.Signals) -> int:
    return complain(f"{_WORDS[number]}; run the same command again to resume", 128 + number)


def _complain_of(error: BaseException) -> int:
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.ClickException():
            return complain(error.format_message(), UsageError.exit_status)
        case RunError():
            return complain(str(error), error.exit_status)
        case KeyboardInterrupt() | click.Abort():
            return _complain_of_stop(signal.SIGINT)
        case BrokenPipeError():
            return FAILED  # the reader of our output has gone
        case Exception():
            return _complain_of_unforeseen(error)
        case _:
            raise error


def complain(message: str, status: int) -> int:
    """Say in one line on stderr what is wrong; returns ``status``."""
    click.echo(f"vidlake: {' '.join(message.split())}", err=True)
    return status


def _complain_of_unforeseen(error: Exception) -> int:
    """Say in one line what nobody translated: stdout that cannot be written, or else a fault of our own.

    The traceback of such a fault goes to a file that the line names. Call it where ``error`` is being handled.
    """
    # A store's errors are translated where they arise, and those of opening a file name it.
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        return complain(f"cannot write to stdout: {error.strerror}", FAILED)
    message = f"a fault of vidlake's own: {traceback.format_exception_only(error)[-1].strip()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vidlake-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{' '.join(map(repr, sys.argv))}\n\n{traceback.format_exc()}")
    except OSError:
        return complain(message, FAILED)
    return complain(f"{message}; the traceback is in {file.name}", FAILED)
