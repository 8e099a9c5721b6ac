"""Torchvision and timm without torch's compiler, which both import and do not need.

``torch._dynamo`` and what it imports, SymPy and Triton among it, take more than a second of CPU and 70 MB in each
process that holds a model. While the libraries are imported, two modules stand in for it; whoever compiles imports it.
"""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

Function = Callable[..., object]

_COMPILER = "torch._dynamo"
_UTILITIES = "torch._dynamo.utils"


@contextmanager
def compiler_on_demand() -> Iterator[None]:
    """Import the libraries in it. What they ask the compiler for is answered here, or else the compiler is imported."""
    if _COMPILER in sys.modules:
        yield
        return
    # timm sets a limit in the configuration for an optimizer of its own; nothing here uses that.
    sys.modules[_COMPILER] = _StandIn(_COMPILER, {"disable": _disable, "config": SimpleNamespace()})
    sys.modules[_UTILITIES] = _StandIn(_UTILITIES, {"is_compile_supported": _is_compile_supported})
    try:
        yield
    finally:
        _end()


class _StandIn(ModuleType):
    """A module that knows some answers; for any other, the real one is imported."""

    def __init__(self, name: str, answers: Mapping[str, object]) -> None:
        super().__init__(name)
        vars(self).update(answers)

    def __getattr__(self, name: str) -> object:
        is_asked_of_all = name.startswith("__") and (self.__name__, name) != (_COMPILER, "__path__")
        if is_asked_of_all:
            raise AttributeError(name)
        _end()
        return getattr(importlib.import_module(self.__name__), name)


def _end() -> None:
    for name in (_COMPILER, _UTILITIES):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module(_UTILITIES).is_compile_supported(device_type))


def _disable(fn: Function | None = None, recursive: bool = True, *, reason: str | None = None) -> object:
    """``torch.compiler.disable``, which is for functions that a compiled network calls, at their first call."""
    if fn is None:
        return lambda function: _disable(function, recursive, reason=reason)

    @functools.cache
    def disabled() -> Function:
        real: Function = importlib.import_module(_COMPILER).disable(fn, recursive, reason=reason)
        return real

    @functools.wraps(fn)
    def call(*words: object, **named: object) -> object:
        return disabled()(*words, **named)

    return call
