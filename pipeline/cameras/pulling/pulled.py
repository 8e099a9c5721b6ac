"""What a puller hands over: what the stream is, its pictures, its recording, and why it is over."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.pulling.ended import Ended, EndReason

__all__ = ["EndReason", "Ended", "Frame", "Opened", "PullLimits", "Pulled", "Recorded", "Wishes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is wanted of a stream."""

    rate_hz: Fraction
    """The rate R of the sampling rule ``fps:R``."""
    detect_rate_hz: Fraction | None = None
    """How many pictures a second a detector looks at; ``None``: none."""
    is_recording: bool = False
    """Whether what comes in is handed over as it came, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullLimits:
    """What one connection may use up, in the decoder's process and in this one."""

    max_pixels: int = 64_000_000
    """Of a picture; a larger one ends the connection."""
    memory_bytes: int = 2 * 1024**3
    """Of the decoder, which is killed beyond it."""
    max_picture_bytes: int = 96 << 20
    """Of pictures that nobody has read yet; the newest are kept (two at least), older ones are dropped and say so."""
    max_recorded_bytes: int = 64 << 20
    """Of the recording that nobody has read yet; what comes beyond that is lost, up to the next file."""
    recording_file_s: float = 300.0
    """After so much, ``Recorded.is_first`` begins another file at the next keyframe that nothing before it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session begins with the next frame.

    It comes again in the middle where the picture's size, the codec or the rate changes, or the clock jumps: what was
    before is over, and time and slots count from zero again.
    """

    codec: str
    container: str
    """By FFmpeg's name, such as ``rtsp``, ``mpegts`` or ``mpjpeg``."""
    time_base: Fraction
    start_pts: int
    width: int
    """As stored, before it is turned upright, as in the table ``videos``."""
    height: int
    rotation: int
    """Of the display matrix, in degrees."""
    pix_fmt: str
    why: str
    """``connected``, or what changed: ``size``, ``codec``, ``rate``, ``clock``, ``discontinuity``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One decoded frame, in presentation order; no two of a session have the same pts."""

    pts: int
    time_s: Fraction
    """From the session's first frame."""
    is_keyframe: bool
    is_corrupt: bool
    arrived_at: float
    """The wall clock when it came, in seconds since 1970; of a file, when it was due."""
    luma: NDArray[np.uint8]
    """Brightness ``uint8[h, w]`` of the whole upright picture, about 160 px wide."""
    slot: int | None
    """The slot k of ``fps:R`` whose sample this frame is; ``None``: it is no sample."""
    detect: bool
    """Whether it is one of the pictures for the detector."""
    picture: NDArray[np.uint8] | None
    """Upright RGB ``uint8[H, W, 3]``, full resolution, of a sample or for the detector; the reader's own copy."""

    @property
    def is_dropped(self) -> bool:
        """Whether its picture was wanted and given up, because newer ones came before anybody read it."""
        return self.picture is None and (self.slot is not None or self.detect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The next part of the recording: whole boxes of a fragmented MP4, in the stream's own time base and pts.

    It comes before the frames that it shows, so that no row lacks its recording; but for those of a session's first
    keyframe, which come right behind its ``Opened``. Parts of a session come before the ``Opened`` of the next one.
    """

    data: bytes
    is_first: bool
    """A new file begins: ``data`` starts with ``ftyp`` and ``moov``, and its first frame is a keyframe."""
    start_time_s: float
    """Of the earliest frame in ``data``, from the session's first frame."""
    end_time_s: float
    """Where its last frame ends."""


Pulled = Opened | Frame | Recorded | Ended
