"""One connection to a source, whose processes can be killed at any time."""

import contextlib
import mmap
import os
import secrets
import select
import socket
import threading
import time
from types import TracebackType
from typing import Literal, Self

from pipeline.cameras.pulling.backlog import Backlog
from pipeline.cameras.pulling.connector.task import TASK_ENCODER, Task
from pipeline.cameras.pulling.endings import opened_file, why_over
from pipeline.cameras.pulling.heard import SharedPictures, greet, heard
from pipeline.cameras.pulling.processes import Child
from pipeline.cameras.pulling.pulled import Ended, EndReason, Pulled, PullLimits, Wishes
from pipeline.cameras.pulling.source import Origin, Source
from pipeline.media.live.messages import NUM_PICTURES, LiveRequest, PacketsCome, StreamOver, read_event, written
from pipeline.media.process.launch import sealed_memory
from pipeline.media.process.wire import HungUp, Nonsense

_DECODER = "pipeline.media.process.live_child"
_CONNECTOR = "pipeline.cameras.pulling.connector.main"
_HEADROOM_BYTES = 256 << 20
_LOOK_S = 1.0
_START_S = 60.0
"""How long the decoder may take to start, on a machine that is busy."""


class Puller:
    """A connection that is made once; for another one, make another puller.

    It starts two processes: one speaks to the source and knows its address and credentials, the other decodes and knows
    neither. Whatever they do, no call of this class waits for them.
    """

    def __init__(self, source: Source, *, wishes: Wishes, limits: PullLimits | None = None) -> None:
        """Start to connect.

        Raises:
            RunError: no process can be started.
        """
        self._limits = limits or PullLimits()
        self._backlog = Backlog(self._limits)
        self._children: list[Child] = []
        self._lock = threading.Lock()
        self._is_closed = False
        self._heard_at: float | None = None
        self._thread: threading.Thread | None = None
        self._wake, self._woken = os.pipe()
        try:
            if not self._started(source, wishes):
                return
        except BaseException:
            self.close()
            raise
        self._thread = threading.Thread(target=self._run, name="vidlake-puller", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def heard_at(self) -> float | None:
        """When something last came, by ``time.monotonic``; pictures may still wait for a keyframe.

        ``None``: the processes are still starting.
        """
        return self._heard_at

    def read(self, timeout_s: float) -> Pulled | None:
        """What came next, in order; ``None`` where nothing comes in that time.

        A reader that is slow finds dropped frames (``Frame.is_dropped``), never old ones; frames that are neither
        samples nor for the detector may be left out then. After ``Ended`` only ``Ended`` comes.
        """
        return self._backlog.get(timeout_s)

    def close(self) -> None:
        """End it, in any state within 0.2 s: the processes are gone and their sockets closed. A second call is none."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        os.write(self._woken, b".")
        self._kill_children()
        if self._thread is not None:
            self._thread.join()
            self._pictures.close()
        for child in self._children:
            child.channel.close()
        os.close(self._wake)
        os.close(self._woken)
        self._backlog.put(Ended(reason=EndReason.KILLED, detail="closed"))

    def _started(self, source: Source, wishes: Wishes) -> bool:
        """Start the processes; false where there is nothing to start them for."""
        with contextlib.ExitStack() as ours:  # what only the children need
            if source.origin is not None:
                self._connect(source, source.origin, wishes, ours)
                return True
            fd = opened_file(source.target)
            if isinstance(fd, Ended):
                self._backlog.put(fd)
                return False
            ours.callback(os.close, fd)
            self._start_decoder(_request(wishes, self._limits, road="file"), body_fd=fd)
            return True

    def _connect(self, source: Source, origin: Origin, wishes: Wishes, ours: contextlib.ExitStack) -> None:
        tokens = (secrets.token_hex(16), secrets.token_hex(16))
        if origin.scheme in ("rtsp", "rtsps"):
            listener = ours.enter_context(socket.create_server(("127.0.0.1", 0)))
            url = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/{tokens[0]}"
            request, connector_end, decoder_fd = _request(wishes, self._limits, road="relay", url=url), listener, -1
        else:
            connector_end, decoder_end = socket.socketpair()
            ours.enter_context(connector_end)
            decoder_fd = ours.enter_context(decoder_end).fileno()
            request = _request(wishes, self._limits, road="piped")
        connector = Child(_CONNECTOR, [], fds=[connector_end.fileno()])
        self._children.append(connector)
        task = Task.of(source, origin, relay_tokens=tokens)
        with contextlib.suppress(HungUp):  # it died at once: the thread will tell
            connector.channel.send(TASK_ENCODER.encode(task))
        self._start_decoder(request, body_fd=decoder_fd)

    def _start_decoder(self, request: LiveRequest, *, body_fd: int) -> None:
        picture_bytes = -(-3 * self._limits.max_pixels // mmap.PAGESIZE) * mmap.PAGESIZE
        memory_fd = sealed_memory(NUM_PICTURES * picture_bytes)
        try:
            self._pictures = SharedPictures(mmap.mmap(memory_fd, NUM_PICTURES * picture_bytes))
            memory_bytes = self._limits.memory_bytes + _HEADROOM_BYTES
            self._decoder = Child(_DECODER, [str(memory_bytes)], fds=[body_fd, memory_fd])
        finally:
            os.close(memory_fd)
        self._children.append(self._decoder)
        with contextlib.suppress(HungUp):
            self._decoder.channel.send(written(request))

    def _kill_children(self) -> None:
        with self._lock:
            for child in self._children:
                child.kill()

    def _run(self) -> None:
        """Hear the decoder until the stream is over, and say why it is (in the puller's thread)."""
        try:
            over = self._heard_until_over()
            if not self._is_closed:
                connector = next((child for child in self._children if child is not self._decoder), None)
                self._backlog.put(over if isinstance(over, Ended) else why_over(over, self._decoder, connector))
        except Nonsense as error:
            self._backlog.put(Ended(reason=EndReason.CRASHED, detail=f"the decoder talked nonsense ({error})"))
        self._kill_children()

    def _heard_until_over(self) -> StreamOver | Ended | None:
        poll = select.poll()
        poll.register(self._decoder.socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        began_s = looked_s = time.monotonic()
        while self._wake not in (ready := [fd for fd, _ in poll.poll(_LOOK_S * 1000)]):
            try:
                over = self._hear_all() if ready else None
            except HungUp:
                return None
            if over is not None:
                return over
            if time.monotonic() - looked_s > _LOOK_S:
                looked_s = time.monotonic()
                if self._decoder.allocated_bytes() > self._limits.memory_bytes:
                    return Ended(reason=EndReason.CRASHED, detail="the decoder used more memory than it may")
                if self._heard_at is None and looked_s - began_s > _START_S:
                    return Ended(reason=EndReason.CRASHED, detail="the decoder does not start")
        return None

    def _hear_all(self) -> StreamOver | None:
        """All that the decoder has said by now, and its last word if that was among it."""
        while (message := self._decoder.channel.receive(timeout_s=1e-3)) is not None:
            if self._heard_at is None:
                greet(message)
                self._heard_at = time.monotonic()
            elif (over := self._hear(message)) is not None:
                return over
        return None

    def _hear(self, message: bytes) -> StreamOver | None:
        event = read_event(message)
        if isinstance(event, StreamOver):
            return event
        self._heard_at = time.monotonic()
        if not isinstance(event, PacketsCome):
            self._backlog.put(heard(event, self._pictures, self._decoder.channel))
        return None


def _request(
    wishes: Wishes, limits: PullLimits, *, road: Literal["relay", "piped", "file"], url: str = ""
) -> LiveRequest:
    return LiveRequest(
        road=road,
        url=url,
        rate_hz=wishes.rate_hz,
        detect_rate_hz=wishes.detect_rate_hz,
        is_recording=wishes.is_recording,
        recording_file_s=limits.recording_file_s,
        max_pixels=limits.max_pixels,
    )
