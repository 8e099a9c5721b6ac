"""Freed memory goes back to the system, so that a driver of a million videos stays as small as its data."""

import contextlib
import ctypes

import pyarrow as pa

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 128 << 10
_KEPT_BYTES = 1 << 20
_ARENAS = 2


def give_back_what_is_freed() -> None:
    """Let this process, from now on, keep next to nothing of what it frees.

    Arrow's own pools and glibc's, which raise their thresholds as they go, keep all that a process ever needed at once,
    and a hole for each thread that did. Not for processes that compute: what a model allocates for each batch would be
    a new mapping every time. Other C libraries than glibc are left as they are.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_ARENA_MAX, _ARENAS)
