"""The two processes of a puller, as their parent sees them."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence

from pipeline.errors import RunError
from pipeline.media.process.launch import launched_module
from pipeline.media.process.wire import Channel

_SIGNALS = {int(each): each.name for each in signal.Signals}


class Child:
    """A process of ours with a socket to it; it dies with this process, and at once when it is killed."""

    def __init__(self, module: str, words: Sequence[str], *, fds: Sequence[int]) -> None:
        """Start it. Its arguments are ``words``, then the numbers of its socket, of ``fds`` and of its lifeline.

        Raises:
            RunError: the system starts no other process.
        """
        self.socket, theirs = socket.socketpair()
        self.channel = Channel(self.socket)
        lifeline, self._lifeline_fd = os.pipe()
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        self._is_gone = False
        passed = [theirs.fileno(), *fds, lifeline]
        numbers = [str(fd) for fd in (theirs.fileno(), *fds, lifeline)]
        try:
            self._popen: subprocess.Popen[bytes] = launched_module(
                module, [*words, *numbers], fds=[fd for fd in passed if fd >= 0], last_words=self._last_words
            )
        except OSError as error:
            self.channel.close()
            os.close(self._lifeline_fd)
            raise RunError(f"no process can be started: {error.strerror}") from None
        finally:
            theirs.close()
            os.close(lifeline)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def kill(self) -> None:
        """End it, and let go of what connects to it."""
        if self._is_gone:
            return
        self._is_gone = True
        if self._popen.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._last_words.close()
        os.close(self._lifeline_fd)

    def exit_status(self, *, timeout_s: float) -> int | None:
        """How it ended, for which it gets a little time: negative by a signal; ``None``: it runs."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def said(self, status: int | None) -> str:
        """In words how it ended, with its last line."""
        if status is None or self._is_gone:
            return "it hung up"
        if status < 0:
            return f"killed by {_SIGNALS.get(-status, f'signal {-status}')}"
        self._last_words.seek(0)
        lines = self._last_words.read().decode(errors="replace").strip().splitlines()
        return f"ended with status {status}: {lines[-1][:300] if lines else 'no message'}"

    def allocated_bytes(self) -> int:
        """What it has allocated; 0 where it is gone."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii", errors="replace") as file:
                sizes = [line.split()[1] for line in file if line.startswith("VmData:")]
        except OSError:
            return 0
        return int(sizes[0]) * 1024 if sizes else 0
