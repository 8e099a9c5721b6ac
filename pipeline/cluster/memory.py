"""What becomes of freed memory: a driver of a million videos gives it back, and a model computes in it again."""

import contextlib
import ctypes

import pyarrow as pa

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
_LARGE_BYTES = 128 << 10
_KEPT_BYTES = 1 << 20
_ARENAS = 2
_NEVER_TRIMMED_BYTES = (1 << 31) - 1

KEEPING_WHAT_IS_FREED = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(_NEVER_TRIMMED_BYTES),
}
"""Environment that has a process do as ``keep_what_is_freed``, from its start on and in all its threads."""


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


def keep_what_is_freed() -> None:
    """Let the main thread, from now on, compute in memory that it had before.

    glibc maps what is larger than 32 MB anew each time, and the kernel fills it with zeros page by page: for a model on
    a CPU, whose intermediate results are that large, a quarter of its time.
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIMMED_BYTES)
