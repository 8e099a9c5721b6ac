"""How a decoder process is started, and what it is given: a module search path, a few variables, shared memory."""

import fcntl
import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

import pipeline

_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "HOME", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR")


def launched(entry: str, *, memory_bytes: int, fds: Sequence[int], last_words: IO[bytes]) -> "subprocess.Popen[bytes]":
    """A new process that runs ``entry`` with these descriptors, and writes what it complains of to a file."""
    words = [entry, str(memory_bytes), *map(str, fds)]
    return launched_module("pipeline.media.process.child", words, fds=fds, last_words=last_words)


def launched_module(
    module: str, words: Sequence[str], *, fds: Sequence[int], last_words: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """A new process that runs a module of ours; everybody can see its ``words``."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment["PYTHONPATH"] = os.pathsep.join(search_path())
    environment["OPENBLAS_NUM_THREADS"] = "1"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *words],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=last_words,
        env=environment,
        # A group of its own is killed whole, and Ctrl-C does not reach it. Not a session of its own: where the
        # kernel divides the CPUs among sessions, each decoder would get as much as all the rest.
        process_group=0,
    )


def search_path() -> list[str]:
    """Where the child looks for modules: where this process has its own from, and never in the working folder.

    A ``socket.py``, ``numpy.py`` or ``pipeline.py`` in a folder that comes first here, as Ray and ``python -c`` put the
    working folder, would otherwise run in the child.
    """
    library = sysconfig.get_path("stdlib")
    first = [library, os.path.join(library, "lib-dynload")]
    first += [str(Path(package.__file__ or "").parents[1]) for package in (pipeline, msgspec, np)]
    try:
        working_folder = os.path.realpath(os.getcwd())
    except FileNotFoundError:  # it was removed meanwhile
        working_folder = ""
    rest = [path for path in sys.path if path and os.path.realpath(path) != working_folder]
    return list(dict.fromkeys(first + rest))


def sealed_memory(num_bytes: int) -> int:
    """Memory to share: it takes room only where it is written to, and neither side can shrink it under the other."""
    fd = os.memfd_create("vidlake-frames", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, num_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
