"""What a command leaves with, and the one line that says why."""

import sys
import tempfile
import time
import traceback

import click

from pipeline.errors import RunError

FAILED = 1
INTERRUPTED = 130
TERMINATED = 143


def complain(message: str, status: int) -> int:
    """Say in one line on stderr what is wrong; returns ``status``."""
    click.echo(f"vidlake: {' '.join(message.split())}", err=True)
    return status


def write_out(text: str) -> None:
    """Write a command's answer to stdout.

    Raises:
        RunError: it cannot be written, as on a full disk.
        BrokenPipeError: its reader has gone.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"cannot write to stdout: {error.strerror}") from None


def complain_of_bug(error: BaseException) -> int:
    """Keep the traceback of an error that nobody foresaw in a file, and name the file in one line.

    Call it where ``error`` is being handled.
    """
    first = "".join(traceback.format_exception_only(error)).splitlines()[0]
    message = f"a fault of vidlake's own: {first}"
    try:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        with tempfile.NamedTemporaryFile(
            "w", prefix=f"vidlake-{stamp}-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(f"{' '.join(map(repr, sys.argv))}\n\n{traceback.format_exc()}")
    except OSError:
        return complain(message, FAILED)
    return complain(f"{message}; the traceback is in {file.name}", FAILED)
