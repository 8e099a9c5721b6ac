"""The decoder process: locks itself in, and then reads requests until its parent is gone."""

import fcntl
import gc
import importlib
import mmap
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from types import ModuleType
from typing import cast

from pipeline.media.process.system_calls import confine
from pipeline.media.process.wire import EXIT_OUT_OF_MEMORY, READY, Channel, HungUp

_MAX_LAST_WORDS_BYTES = 1 << 20
_NOT_NEEDED = ("av.__main__", "av.datasets")  # a command, and downloads: a tenth of the start-up
_F_SETSIG = 10  # fcntl(2): which signal instead of SIGIO

Work = Callable[[Channel, Channel, mmap.mmap], None]
"""What a child does: reads requests from the first channel, asks for bytes over the second, paints into the memory."""


def main() -> None:
    """Run ``MODULE:FUNCTION``, a ``Work``, with the file descriptors that the parent names."""
    entry, memory_bytes, *fds = sys.argv[1:]
    control_fd, source_fd, frames_fd, lifeline_fd = (int(fd) for fd in fds)
    die_with_parent(lifeline_fd)
    work = _imported(entry)
    shared = mmap.mmap(frames_fd, os.fstat(frames_fd).st_size)
    control, source = (Channel(socket.socket(fileno=fd)) for fd in (control_fd, source_fd))
    gc.freeze()  # what was imported stays, and is not looked through again with every file
    complaint = lock_in(memory_bytes=int(memory_bytes))
    try:
        control.send(READY + (complaint or "").encode())
        work(control, source, shared)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except HungUp:
        os._exit(0)


def die_with_parent(lifeline_fd: int) -> None:
    """Have the kernel kill this process when the pipe's other end, which the parent alone holds, is closed.

    ``PR_SET_PDEATHSIG`` follows the thread that forked, not its process; and a thread of ours that waits would need the
    interpreter, which a decoder that hangs may hold.
    """
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, _F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
    lifeline = select.poll()
    lifeline.register(lifeline_fd, 0)
    if lifeline.poll(0):  # closed already
        os._exit(1)


def _imported(entry: str) -> Work:
    """The work, with all that it will ever need: nothing can be imported later."""
    module, _, name = entry.partition(":")
    work = cast(Work, getattr(importlib.import_module(module), name))
    with_all_imported()
    return work


def with_all_imported() -> None:
    """Import what the libraries at hand would otherwise import when they first need it."""
    if "av" in sys.modules:
        _complete(sys.modules["av"])
    importlib.import_module("numpy.ma")


def _complete(av: ModuleType) -> None:
    """The parts of av that it imports when they are first needed."""
    av.logging.set_level(None)  # its callback can deadlock with threads
    for late in pkgutil.walk_packages(av.__path__, "av."):
        if late.name not in _NOT_NEEDED:
            importlib.import_module(late.name)


def lock_in(*, memory_bytes: int, num_fds: int = 0, connection_fd: int | None = None) -> str | None:
    """From here on nothing can be opened, and no other process be reached, whatever a file does to the decoder.

    Args:
        memory_bytes: what it may allocate.
        num_fds: descriptors from this number on cannot be had; and no call waits for more of them than that at once.
        connection_fd: the number of the one TCP connection that may be made, below ``num_fds``.

    Returns:
        Why the kernel does not check the system calls, if it does not: then the limits alone hold.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_LAST_WORDS_BYTES, _MAX_LAST_WORDS_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_fds, num_fds))
    return confine(pid=os.getpid(), connection_fd=connection_fd)


if __name__ == "__main__":
    main()
