"""The terminal, kept for what a command says itself."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def own_terminal(*, is_json: bool = False) -> Iterator[None]:
    """Keep Ray's C++ logs off stderr and, where stdout is for one JSON document, what a library prints off that.

    Ray keeps the same lines in its session folder. Python's own ``sys.stderr`` goes on as before.
    """
    kept = sys.stderr
    real = os.dup(2)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)
    os.close(quiet)
    sys.stderr = os.fdopen(os.dup(real), "w", buffering=1, errors="backslashreplace")
    try:
        with contextlib.redirect_stdout(sys.stderr) if is_json else contextlib.nullcontext():
            yield
    finally:
        sys.stderr = kept
        os.dup2(real, 2)
        os.close(real)
