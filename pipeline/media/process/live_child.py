"""The process of a live decoder: hears what it is to play, locks itself in, and plays until the stream is over."""

import gc
import mmap
import os
import socket
import sys
from collections.abc import Callable
from typing import BinaryIO, cast

from pipeline.errors import InputError
from pipeline.media.live.frame_clock import Pace
from pipeline.media.live.messages import LiveRequest, StreamOver, read_request, written
from pipeline.media.live.parts import END, first_part, part_of
from pipeline.media.live.pictures import PicturePlaces
from pipeline.media.live.play import Outlet, Player
from pipeline.media.live_source import LiveSource, open_file, open_part, open_relay
from pipeline.media.process.child import die_with_parent, lock_in, with_all_imported
from pipeline.media.process.system_calls import prepared_denial
from pipeline.media.process.wire import EXIT_OUT_OF_MEMORY, READY, Channel, HungUp


def main() -> None:
    """Play what the parent asks for, over the file descriptors that it names."""
    memory_bytes, control_fd, body_fd, pictures_fd, lifeline_fd = (int(word) for word in sys.argv[1:])
    die_with_parent(lifeline_fd)
    with_all_imported()
    shared = mmap.mmap(pictures_fd, os.fstat(pictures_fd).st_size)
    control_socket = socket.socket(fileno=control_fd)
    control = Channel(control_socket)
    gc.freeze()
    try:
        request = read_request(control.receive())
        body = _Body(request, body_fd)
        connection_fd = _next_fd() if request.road == "relay" else None
        deny_connections = prepared_denial()
        num_fds = 1 if connection_fd is None else connection_fd + 1
        complaint = lock_in(memory_bytes=memory_bytes, num_fds=num_fds, connection_fd=connection_fd)
        control.send(READY + (complaint or "").encode())
        outlet = Outlet(control, PicturePlaces(control, control_socket, shared))
        control.send(written(_played(request, body, outlet, deny_connections)))
        control.receive()  # the parent has heard it, and hangs up
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)
    except HungUp:
        os._exit(0)


class _Body:
    """What the stream is read from, if not from a relay; a file is mapped, so that reading it takes no system call."""

    def __init__(self, request: LiveRequest, fd: int) -> None:
        self.file: BinaryIO | None = None
        self.channel: Channel | None = None
        if request.road == "file":
            self.file = cast(BinaryIO, _MappedFile(fd))
        elif request.road == "piped":
            self.channel = Channel(socket.socket(fileno=fd))


class _MappedFile:
    def __init__(self, fd: int) -> None:
        self._map = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        self.read, self.seek, self.tell = self._map.read, self._seek, self._map.tell

    def _seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        size = len(self._map)
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._map.tell(), os.SEEK_END: size}[whence]
        self._map.seek(min(max(0, start + offset), size))
        return self._map.tell()


def _played(
    request: LiveRequest, body: _Body, outlet: Outlet, deny_connections: Callable[[], str | None]
) -> StreamOver:
    """Play it all, and say how it ended."""
    try:
        if body.channel is not None:
            body.channel.send(READY)
            return _played_parts(request, body.channel, outlet)
        if body.file is not None:
            return _played_one(open_file(body.file, max_pixels=request.max_pixels), request, outlet, has_ended=True)
        source = open_relay(request.url, max_pixels=request.max_pixels)
        deny_connections()  # where the kernel does not, it confined nothing before either, and the parent knows
        return _played_one(source, request, outlet, has_ended=False)
    except InputError as error:
        return StreamOver(has_ended=False, is_readable=False, detail=f"{error.reason}: {error.detail}"[:1000])


def _played_one(source: LiveSource, request: LiveRequest, outlet: Outlet, *, has_ended: bool) -> StreamOver:
    damage = Player(source, request, outlet, Pace()).play()
    return StreamOver(has_ended=has_ended, is_readable=True, detail=damage or "")


def _played_parts(request: LiveRequest, channel: Channel, outlet: Outlet) -> StreamOver:
    """Play one part after another; a part that cannot be read ends it."""
    pace = Pace()
    part = first_part(channel)
    why = "connected"
    following = b""
    damage: str | None = None
    while part is not None:
        source = open_part(part, max_pixels=request.max_pixels, why=why)
        damage = Player(source, request, outlet, pace).play()
        following, why = part.skip(), "discontinuity"
        part = part_of(channel, following)
    return StreamOver(has_ended=following == END, is_readable=True, detail=damage or "")


def _next_fd() -> int:
    """The number that the next descriptor will have."""
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


if __name__ == "__main__":
    main()
