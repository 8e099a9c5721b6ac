"""A decoder process as its parent sees it: started, watched, and killed where it goes too far."""

import contextlib
import functools
import logging
import mmap
import os
import resource
import signal
import socket
import tempfile
import time

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import Crashed, InputError, Killed, OutOfMemory, RunError, TimedOut
from pipeline.media.process import wire
from pipeline.media.process.byte_server import ByteServer
from pipeline.media.process.launch import launched, sealed_memory
from pipeline.records.resources import DecodeLimits

_POLL_S = 0.1
_START_S = 120.0
_DYING_S = 5.0
_MAX_THREADS = 256
_PEAK_ERROR_BYTES = 8 << 20
# malloc asks for more than it uses: the hard limit lies above the one that is watched.
_HEADROOM_BYTES = 256 << 20
_SIGNALS = {int(each): each.name for each in signal.Signals}  # most real-time signals have no name


class DecoderProcess:
    """The living child, its connections and what it has used up.

    A piece of work counts by the time that was spent waiting for it, storage and cores that others hold not counted, or
    by the child's own CPU time if that is more: a child that floods its parent with messages keeps nobody waiting.
    """

    def __init__(self, entry: str, limits: DecodeLimits) -> None:
        """Start it.

        Raises:
            RunError: it does not start, which is no video's fault.
        """
        self._limits = limits
        control, child_control = socket.socketpair()
        source, child_source = socket.socketpair()
        lifeline, self._lifeline_fd = os.pipe()
        frames_fd = sealed_memory(wire.NUM_SLOTS * -(-3 * limits.max_pixels // mmap.PAGESIZE) * mmap.PAGESIZE)
        self._shared = mmap.mmap(frames_fd, os.fstat(frames_fd).st_size)
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115 (closed by kill)
        fds = (child_control.fileno(), child_source.fileno(), frames_fd, lifeline)
        self._popen = launched(
            entry, memory_bytes=limits.memory_bytes + _HEADROOM_BYTES, fds=fds, last_words=self._last_words
        )
        # After the start: what this process used until then is in the child's own peak, but for the kernel's error.
        self._forker_peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + _PEAK_ERROR_BYTES
        for end in (child_control, child_source):
            end.close()
        for fd in (lifeline, frames_fd):
            os.close(fd)
        self._control = wire.Channel(control)
        self.source = ByteServer(wire.Channel(source))
        self._memory_seen_at = 0.0
        self.begin_piece()
        self._await_start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._popen.pid

    def kill(self) -> None:
        """End it, with all that belongs to it."""
        self._end_group()
        self._popen.wait()
        self._control.close()
        self.source.stop()
        self._last_words.close()
        os.close(self._lifeline_fd)

    def begin_piece(self) -> None:
        """Another piece of work begins."""
        self._waited_s = 0.0
        self._cpu_before_s = self._cpu_s()

    def send(self, message: bytes, *, uri: str, timeout_s: float) -> None:
        """Send a request or an acknowledgement.

        Raises:
            InputError: the child died, or does not listen.
        """
        try:
            self._control.send(message, timeout_s=timeout_s)
        except TimeoutError:
            raise TimedOut(uri, "the decoder does not listen") from None
        except wire.HungUp:
            pass  # what it said before it died still counts; after that, ``receive`` tells of its death

    def receive(self, *, uri: str, timeout_s: float) -> bytes:
        """The next event of a piece of work that may take ``timeout_s`` in all.

        Raises:
            InputError: the child died, or used up its time or its memory.
            Nonsense: what it says is no message.
        """
        while True:
            began, storage_s = time.monotonic(), self.source.busy_s()
            try:
                message = self._control.receive(timeout_s=_POLL_S)
            except wire.HungUp:
                raise self._cause_of_death(uri) from None
            if message is not None or not self._wants_to_run():
                self._waited_s += time.monotonic() - began - (self.source.busy_s() - storage_s)
            if max(self._waited_s, self._cpu_s() - self._cpu_before_s) > timeout_s:
                raise TimedOut(uri, f"the decoder did not come back within {timeout_s:g} s")
            if began - self._memory_seen_at > _POLL_S:
                self._memory_seen_at = began
                self._check_usage(uri)
            if message is not None:
                return message

    def picture(self, shape: tuple[int, int, int], offset: int, *, whole_px: tuple[int, int]) -> NDArray[np.uint8]:
        """A view of the shared memory, of a picture of ``whole_px`` or a part of it.

        Raises:
            Nonsense: no picture can lie there.
        """
        height, width, depth = shape
        is_inside = 0 <= offset <= len(self._shared) - height * width * 3
        is_part = 1 <= height <= whole_px[0] and 1 <= width <= whole_px[1]
        if not is_part or depth != 3 or whole_px[0] * whole_px[1] > self._limits.max_pixels or not is_inside:
            raise wire.Nonsense(f"a picture of {height} x {width} x {depth} at {offset}, of {whole_px}")
        return np.frombuffer(self._shared, np.uint8, height * width * 3, offset).reshape(shape)

    def _await_start(self) -> None:
        try:
            greeting = self._control.receive(timeout_s=_START_S)
        except wire.HungUp:
            greeting = None
        if greeting is None or not greeting.startswith(wire.READY):
            self._end_group()
            last_line = self._final_line()
            self.kill()
            raise RunError(f"the decoder process does not start: {last_line}")
        if greeting != wire.READY:
            _warn_once(greeting.removeprefix(wire.READY).decode(errors="replace"))
        self.begin_piece()

    def _end_group(self) -> None:
        """Kill the child, and whatever it has started where the kernel lets it."""
        if self._popen.returncode is None:  # else its number may be another's by now
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _wants_to_run(self) -> bool:
        """Whether the child computes, which its CPU time counts, or waits for a core."""
        return self._status().get("State", "").split()[:1] == ["R"]

    def _cpu_s(self) -> float:
        try:
            return time.clock_gettime(~self.pid << 3 | 2)  # what clock_getcpuclockid(3) computes
        except OSError:
            return 0.0

    def _check_usage(self, uri: str) -> None:
        status = self._status()
        if int(status.get("VmData", "0 kB").split()[0]) * 1024 > self._limits.memory_bytes:
            raise self._out_of_memory(uri)
        num_threads = int(status.get("Threads", "0"))
        if num_threads > _MAX_THREADS:  # they are few bytes each, but count among the processes that a user may have
            raise Crashed(uri, f"the decoder started {num_threads} threads")

    def _status(self) -> dict[str, str]:
        """The fields of ``/proc/PID/status``; none where the child is gone."""
        try:
            with open(f"/proc/{self.pid}/status") as status:
                return dict(line.split(":", 1) for line in status)
        except OSError:
            return {}

    def _cause_of_death(self, uri: str) -> InputError:
        has_died = self._has_died()
        self._end_group()
        _, status, usage = os.wait4(self.pid, 0)
        self._popen.returncode = code = os.waitstatus_to_exitcode(status)
        # A decoder that does not check what malloc returns dies of it. On Linux a peak begins with that of the forker.
        peak_bytes = usage.ru_maxrss * 1024
        is_bloated = peak_bytes > max(self._limits.memory_bytes, self._forker_peak_bytes)
        if not has_died:
            return Crashed(uri, "the decoder hung up")
        if code == wire.EXIT_OUT_OF_MEMORY or (code < 0 and is_bloated):
            return self._out_of_memory(uri)
        if code == -signal.SIGKILL:  # not by this process, which does not ask for the cause of what it kills
            return Killed(uri, "the decoder was killed by SIGKILL, from outside")
        if code < 0:
            return Crashed(uri, f"the decoder was killed by {_SIGNALS.get(-code, f'signal {-code}')}")
        return Crashed(uri, f"the decoder ended with status {code}: {self._final_line()}")

    def _has_died(self) -> bool:
        """Whether a child that hung up has died, for which it gets a little time."""
        deadline = time.monotonic() + _DYING_S
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(1e-3)
        return True

    def _out_of_memory(self, uri: str) -> OutOfMemory:
        return OutOfMemory(uri, f"the decoder used more than {self._limits.memory_bytes} bytes")

    def _final_line(self) -> str:
        self._last_words.seek(0)
        lines = self._last_words.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no message"


@functools.cache
def _warn_once(complaint: str) -> None:
    logging.getLogger(__name__).warning(
        "decoders run without a list of the system calls that they may make (%s); their other limits hold", complaint
    )
