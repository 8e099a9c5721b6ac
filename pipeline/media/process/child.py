"""The decoder process: reads requests until its parent is gone. Imports av and numpy, and nothing heavier."""

import gc
import importlib
import io
import json
import mmap
import os
import pkgutil
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np

from pipeline.errors import InputError
from pipeline.media.decode.open_video import OpenVideo, Picked
from pipeline.media.decode.pixels import Painter
from pipeline.media.decode.segments import Restarted, decode_segments
from pipeline.media.probe.plan_video import PlanRequest, plan_video
from pipeline.media.process.wire import (
    EXIT_OUT_OF_MEMORY,
    FULL_SLOT_BYTES,
    NUM_SLOTS,
    Channel,
    HungUp,
    ask_for_bytes,
    receive_request,
    send_json,
)
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.crops import part_of
from pipeline.records.model_info import Preprocessing
from pipeline.records.segments import FrameMark, Segment, Sizing, TimeRange, VideoFacts

# asdict copies deeply, for every picture.
_MARK = tuple(field.name for field in fields(FrameMark))
_MAX_LAST_WORDS_BYTES = 1 << 20


class StorageFault(Exception):
    """The parent could not read the store; it knows why."""


class RemoteFile(io.RawIOBase):
    """A video as a nameless, seekable file; the bytes come from the parent."""

    def __init__(self, source: Channel, *, size_bytes: int) -> None:
        self._source = source
        self._size_bytes = size_bytes
        self._offset = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As ``io.RawIOBase``."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size_bytes}[whence]
        self._offset = max(0, start + offset)
        return self._offset

    def tell(self) -> int:
        """As ``io.RawIOBase``."""
        return self._offset

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes.

        Raises:
            StorageFault: the store failed.
        """
        left = max(0, self._size_bytes - self._offset)
        length = left if size < 0 else min(size, left)
        if not length:
            return b""
        data = ask_for_bytes(self._source, offset=self._offset, length=length)
        if data is None:
            raise StorageFault
        self._offset += len(data)
        return data


class _Slots:
    """Room for pictures in memory shared with the parent."""

    def __init__(self, control: Channel, shared: mmap.mmap) -> None:
        self._control = control
        self._shared = shared
        self._slot_bytes = len(shared) // NUM_SLOTS
        self._num_sent = 0
        self._num_in_flight = 0
        self._used_bytes = 0
        self._painted: list[dict[str, Any]] = []  # what lies in the slot that is being filled

    def claim(self, num_bytes: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int]:
        """Room for a picture as a flat array, and its offset; may wait until the parent is done with earlier ones."""
        if self._painted and self._used_bytes + num_bytes > min(FULL_SLOT_BYTES, self._slot_bytes):
            self.hand_over()
        if not self._painted:
            self._used_bytes = 0
            if self._num_in_flight == NUM_SLOTS:
                self._await_one()
        offset = self._num_sent % NUM_SLOTS * self._slot_bytes + self._used_bytes
        self._used_bytes += num_bytes
        return np.frombuffer(self._shared, np.uint8, num_bytes, offset), offset

    def add(self, painted: dict[str, Any]) -> None:
        """The room that was claimed holds this picture now."""
        self._painted.append(painted)

    def hand_over(self) -> None:
        """Tell the parent of the pictures that it does not know of yet."""
        if not self._painted:
            return
        self._painted[-1]["is_last"] = True
        self._control.send(*(json.dumps(painted).encode() for painted in self._painted))
        self._painted.clear()
        self._num_sent += 1
        self._num_in_flight += 1

    def settle(self) -> None:
        """Hand over every picture, and wait until the parent is done with it."""
        self.hand_over()
        while self._num_in_flight:
            self._await_one()

    def _await_one(self) -> None:
        self._control.receive()
        self._num_in_flight -= 1


def serve(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Answer requests to plan and to decode, until the parent hangs up."""
    slots = _Slots(control, shared)
    while True:
        request = receive_request(control)
        file = cast(BinaryIO, RemoteFile(source, size_bytes=request["size_bytes"]))
        try:
            if request["op"] == "plan":
                _plan(control, file, request)
            else:
                _decode(control, file, request, slots)
        except InputError as error:
            slots.settle()
            send_json(control, {"event": "failed", "reason": error.reason, "detail": error.detail})
        except StorageFault:
            slots.settle()
            send_json(control, {"event": "storage_failed"})
        gc.collect()  # PyAV's objects come in reference cycles, with a picture's memory in each


def _plan(control: Channel, file: BinaryIO, request: dict[str, Any]) -> None:
    plan = plan_video(
        file,
        PlanRequest(
            uri=request["uri"],
            size_bytes=request["size_bytes"],
            rule=parse_rule(request["rule"]),
            time_range=_time_range(request),
            sizing=Sizing(**request["sizing"]),
            max_pixels=request["max_pixels"],
        ),
    )
    segments = [segment.to_json() for segment in plan.segments]
    send_json(control, {"event": "planned", "facts": plan.facts.to_json(), "segments": segments})


def _decode(control: Channel, file: BinaryIO, request: dict[str, Any], slots: _Slots) -> None:
    video = OpenVideo(
        file,
        uri=request["uri"],
        facts=VideoFacts.from_json(request["facts"]),
        rule=parse_rule(request["rule"]),
        time_range=_time_range(request),
        max_pixels=request["max_pixels"],
    )
    segments = [Segment.from_json(document) for document in request["segments"]]
    wanted = None if request["preprocessing"] is None else Preprocessing.from_json(request["preprocessing"])
    painter = Painter()
    for event in decode_segments(video, segments):
        if isinstance(event, Picked):
            height_px, width_px, depth = painter.shape_of(event.frame)
            part = part_of(height_px, width_px, preprocessing=wanted)
            shape = (part[0].stop - part[0].start, part[1].stop - part[1].start, depth)
            room, offset = slots.claim(shape[0] * shape[1] * depth)
            painter.paint(event.frame, into=room.reshape(shape), part=part)
            place = {"shape": shape, "offset": offset, "whole": (height_px, width_px), "is_last": False}
            mark = {name: getattr(event.mark, name) for name in _MARK}
            slots.add({"event": "painted", "segment": event.segment, "mark": mark, **place})
            continue
        slots.hand_over()
        if isinstance(event, Restarted):
            send_json(control, {"event": "dropped", "segment": event.segment})
        else:
            failure = None if event.failure is None else asdict(event.failure)
            send_json(control, {"event": "ended", "segment": event.segment, "failure": failure})
    slots.settle()
    send_json(control, {"event": "done"})


def _time_range(request: dict[str, Any]) -> TimeRange:
    start, end = (None if text is None else Fraction(text) for text in request["time_range"])
    return TimeRange(start=start, end=end)


def _die_with_parent(lifeline_fd: int) -> None:
    # PR_SET_PDEATHSIG is tied to the thread that forked; a pipe that only the parent holds open is tied to it all.
    def wait() -> None:
        os.read(lifeline_fd, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Run ``MODULE:FUNCTION`` as the decoder, with the file descriptors that the parent names."""
    entry, memory_bytes, *fds = sys.argv[1:]
    control_fd, source_fd, frames_fd, lifeline_fd = (int(fd) for fd in fds)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    _die_with_parent(lifeline_fd)
    av.logging.set_level(None)  # its callback can deadlock with threads
    module, _, name = entry.partition(":")
    function = cast(Callable[[Channel, Channel, mmap.mmap], None], getattr(importlib.import_module(module), name))
    shared = mmap.mmap(frames_fd, os.fstat(frames_fd).st_size)
    for late in pkgutil.walk_packages(av.__path__, "av."):
        importlib.import_module(late.name)  # av imports parts of itself when they are first needed: too late below
    importlib.import_module("numpy.ma")  # and so does numpy
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_LAST_WORDS_BYTES, _MAX_LAST_WORDS_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory_bytes), int(memory_bytes)))
    control, source = (Channel(socket.socket(fileno=fd)) for fd in (control_fd, source_fd))
    # From here on nothing can be opened: no file, no socket, whatever a video says.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    gc.freeze()  # what was imported stays, and is not looked through again with every file
    try:
        control.send(b"ready")
        function(control, source, shared)
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except HungUp:
        os._exit(0)


if __name__ == "__main__":
    main()
