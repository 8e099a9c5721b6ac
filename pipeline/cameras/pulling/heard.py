"""What the decoder says, as the values that a reader gets; its pictures are copied out of the shared memory."""

import functools
import logging
import mmap

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.pulling.pulled import Frame, Opened, Pulled, Recorded
from pipeline.media.live.messages import NUM_PICTURES, FrameCame, PartRecorded, SessionBegan
from pipeline.media.process.wire import READY, Channel, Nonsense


class SharedPictures:
    """The memory that the decoder paints into."""

    def __init__(self, shared: mmap.mmap) -> None:
        self._shared = shared
        self._place_bytes = len(shared) // NUM_PICTURES

    def copied(self, place: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """The picture at a place, RGB ``uint8[h, w, 3]``.

        Raises:
            Nonsense: none can lie there.
        """
        height, width = shape
        num_bytes = height * width * 3
        if not (place < NUM_PICTURES and 0 < num_bytes <= self._place_bytes):
            raise Nonsense(f"a picture of {height} x {width} at place {place}")
        flat = np.frombuffer(self._shared, np.uint8, num_bytes, place * self._place_bytes)
        return flat.reshape(height, width, 3).copy()

    def close(self) -> None:
        """Let go of the memory."""
        self._shared.close()


def heard(event: SessionBegan | FrameCame | PartRecorded, pictures: SharedPictures, decoder: Channel) -> Pulled:
    """What an event of the decoder means; a picture is acknowledged once it is copied.

    Raises:
        Nonsense: there is no such picture.
        HungUp: the decoder is gone.
    """
    if isinstance(event, PartRecorded):
        return Recorded(
            data=event.data, is_first=event.is_first, start_time_s=event.start_time_s, end_time_s=event.end_time_s
        )
    if isinstance(event, SessionBegan):
        return Opened(
            codec=event.codec,
            container=event.container,
            time_base=event.time_base,
            start_pts=event.start_pts,
            width=event.width,
            height=event.height,
            rotation=event.rotation,
            pix_fmt=event.pix_fmt,
            why=event.why,
        )
    picture = None
    if event.place is not None and event.picture_shape is not None:
        picture = pictures.copied(event.place, event.picture_shape)
        decoder.send(bytes([event.place]))
    return Frame(
        pts=event.pts,
        time_s=event.time_s,
        is_keyframe=event.is_keyframe,
        is_corrupt=event.is_corrupt,
        arrived_at=event.arrived_at,
        luma=np.frombuffer(event.luma, np.uint8).reshape(event.luma_shape),
        slot=event.slot,
        detect=event.detect,
        picture=picture,
    )


def greet(message: bytes) -> None:
    """Take the decoder's first message, which says whether the kernel checks its system calls.

    Raises:
        Nonsense: it is another.
    """
    if not message.startswith(READY):
        raise Nonsense("no greeting")
    if message != READY:
        _warn_once(message.removeprefix(READY).decode(errors="replace"))


@functools.cache
def _warn_once(complaint: str) -> None:
    logging.getLogger(__name__).warning(
        "live decoders run without a list of the system calls that they may make (%s); their other limits hold",
        complaint,
    )
