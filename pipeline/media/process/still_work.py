"""What the decoder process does with still pictures: it decodes one at a time."""

import contextlib
import ctypes
import mmap

import numpy as np

from pipeline.errors import InputError
from pipeline.media.process.messages import Draw, Drawn, Failed, StorageFailed, read_request, written
from pipeline.media.process.remote_file import UNNAMED, RemoteFile, StorageFault
from pipeline.media.process.wire import Channel
from pipeline.media.still_picture import StillPicture, paint

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def serve(control: Channel, source: Channel, shared: mmap.mmap) -> None:
    """Answer requests to draw, until the parent hangs up; a picture lies in the memory until the next request."""
    _keep_memory()
    while True:
        request = read_request(control.receive())
        if not isinstance(request, Draw):
            continue
        try:
            control.send(written(_drawn(RemoteFile(source, size_bytes=request.size_bytes), request, shared)))
        except InputError as error:
            control.send(written(Failed.of(error)))
        except StorageFault:
            control.send(written(StorageFailed()))


def _drawn(file: RemoteFile, request: Draw, shared: mmap.mmap) -> Drawn:
    still = StillPicture(file.read_all(), uri=UNNAMED, max_pixels=request.max_pixels)
    part = still.part_of(request.preprocessings)
    shape = (part.height, part.width, 3)
    paint(part, into=np.frombuffer(shared, np.uint8, part.height * part.width * 3).reshape(shape))
    return Drawn(shape=shape, offset=0, whole_px=still.size_px)


def _keep_memory() -> None:
    """Have malloc keep what one picture took for the next: fresh pages cost twice as much as decoding."""
    with contextlib.suppress(AttributeError):  # of glibc alone
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
