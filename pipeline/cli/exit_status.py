"""What a command leaves with, and the one line that says why: the one place that turns errors into messages."""

import errno
import sys
import tempfile
import traceback
from collections.abc import Callable

import click

from pipeline.errors import RunError, UsageError

FAILED = 1
INTERRUPTED = 130
TERMINATED = 143
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class Terminated(KeyboardInterrupt):
    """SIGTERM: stop as for Ctrl-C."""


def exit_status_of(call: Callable[[], int | None]) -> int:
    """What ``call`` returns, or the exit status of what it raises, once that is said in one line."""
    try:
        return call() or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return complain(error.format_message(), UsageError.exit_status)
    except RunError as error:
        return complain(str(error), error.exit_status)
    except Terminated:
        return complain("terminated; run the same command again to resume", TERMINATED)
    except (KeyboardInterrupt, click.Abort):
        return complain("interrupted; run the same command again to resume", INTERRUPTED)
    except BrokenPipeError:
        return FAILED  # the reader of our output has gone
    except Exception as error:  # noqa: BLE001  a user sees one line, whatever escapes
        return _complain_of_unforeseen(error)


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
