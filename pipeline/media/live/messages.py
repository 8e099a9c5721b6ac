"""What a live decoder and its parent say to each other: MessagePack, for luma and recordings are bytes.

As in ``process/messages``, the parent believes what it hears only as far as its shape goes.
"""

import re
import time
from fractions import Fraction
from typing import Annotated, Literal

import msgspec

from pipeline.media.process.wire import Nonsense

NUM_PICTURES = 4
"""That the shared memory holds: the child fills one while the parent copies others."""

_MOST_LUMA_BYTES = 1 << 18
_LONGEST_S = 10**9
_LONGEST_TICK_S = 3600
_LONGEST_AWAY_S = 86_400.0

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
_Size = Annotated[int, msgspec.Meta(ge=0, lt=1 << 24)]
_Stamp = Annotated[int, msgspec.Meta(gt=-(1 << 62), lt=1 << 62)]
_Short = Annotated[str, msgspec.Meta(max_length=300)]


class LiveRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The only thing that a live decoder is ever asked for."""

    road: Literal["relay", "piped", "file"]
    """How the stream comes: RTSP from a relay, bytes in parts, or a file that lies open."""
    url: str
    """Of the relay; otherwise empty."""
    rate_hz: Fraction
    detect_rate_hz: Fraction | None
    is_recording: bool
    recording_file_s: float
    max_pixels: int


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, tag_field="event", forbid_unknown_fields=True):
    pass


class SessionBegan(_Event, frozen=True):
    """The next frame is the first of a session."""

    codec: _Short
    container: _Short
    time_base: Fraction
    start_pts: _Stamp
    width: _Size
    height: _Size
    rotation: Annotated[int, msgspec.Meta(ge=0, lt=360)]
    pix_fmt: _Short
    why: _Short


class FrameCame(_Event, frozen=True):
    """A frame; its picture, if any, lies in the shared memory, in the slot ``place``, until it is acknowledged."""

    pts: _Stamp
    time_s: Fraction
    is_keyframe: bool
    is_corrupt: bool
    arrived_at: float
    luma: Annotated[bytes, msgspec.Meta(max_length=_MOST_LUMA_BYTES)]
    luma_shape: tuple[_Size, _Size]
    slot: _Count | None
    detect: bool
    place: _Count | None
    picture_shape: tuple[_Size, _Size] | None


class PartRecorded(_Event, frozen=True):
    """The next part of the recording."""

    data: bytes
    is_first: bool
    start_time_s: float
    end_time_s: float


class PacketsCome(_Event, frozen=True):
    """The stream flows, although no frame has come out for a second: it waits for a keyframe."""


class StreamOver(_Event, frozen=True):
    """Nothing more comes. ``has_ended``: all was played; otherwise the stream broke off, or is no video."""

    has_ended: bool
    is_readable: bool
    detail: Annotated[str, msgspec.Meta(max_length=10_000)]


Event = SessionBegan | FrameCame | PartRecorded | PacketsCome | StreamOver


def written(message: LiveRequest | Event) -> bytes:
    """A message as bytes."""
    return _ENCODER.encode(message)


def read_request(message: bytes | None) -> LiveRequest:
    """Read the parent's message, which is trusted."""
    request: LiveRequest = _REQUESTS.decode(message or b"")
    return request


def read_event(message: bytes) -> Event:
    """Read one message of the child.

    Raises:
        Nonsense: it is no event.
    """
    try:
        event: Event = _EVENTS.decode(message)
    except (ValueError, TypeError, RecursionError) as error:
        raise Nonsense(f"{type(error).__name__}: {str(error)[:200]}") from None
    if not _is_sane(event):
        raise Nonsense(f"a {type(event).__name__} that cannot be")
    return event


def _is_sane(event: Event) -> bool:
    """Whether its numbers can be written down and reckoned with."""
    if isinstance(event, SessionBegan):
        return 0 < event.time_base <= _LONGEST_TICK_S and event.time_base.denominator < 1 << 32
    if isinstance(event, PartRecorded):
        return all(-_LONGEST_S < time_s < _LONGEST_S for time_s in (event.start_time_s, event.end_time_s))
    if isinstance(event, FrameCame):
        is_now = abs(event.arrived_at - time.time()) < _LONGEST_AWAY_S
        has_luma = len(event.luma) == event.luma_shape[0] * event.luma_shape[1] > 0
        return is_now and has_luma and 0 <= event.time_s < _LONGEST_S
    return True


def _write_fraction(value: object) -> str:
    if not isinstance(value, Fraction):
        raise TypeError(f"no message holds a {type(value).__name__}")
    return f"{value.numerator}/{value.denominator}"


def _read_fraction(kind: type, value: object) -> Fraction:
    parts = re.fullmatch(r"(-?\d{1,40})/([1-9]\d{0,40})", value, re.ASCII) if isinstance(value, str) else None
    if kind is not Fraction or parts is None:
        raise ValueError("no fraction")
    return Fraction(int(parts[1]), int(parts[2]))


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_write_fraction)
_REQUESTS = msgspec.msgpack.Decoder(LiveRequest, dec_hook=_read_fraction)
_EVENTS = msgspec.msgpack.Decoder(Event, dec_hook=_read_fraction)
