"""The libraries that training needs and a bare install lacks."""

import importlib.util

from pipeline.errors import UsageError

_LIBRARIES = {"sklearn": "scikit-learn", "matplotlib": "matplotlib"}


def require_extra(command: str) -> None:
    """Make sure that they are there, before anything is read or written.

    Raises:
        UsageError: one is missing; the extra that installs it is named.
    """
    for module, name in _LIBRARIES.items():
        if importlib.util.find_spec(module) is None:
            raise UsageError(f"{command} needs {name}, which is not installed: pip install 'vidlake[train]'")
