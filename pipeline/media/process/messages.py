"""What a decoder process and its parent say to each other, written as JSON and never as pickles.

The parent believes what it hears only as far as its shape goes: one side reads hostile files. ``msgspec`` holds each
message against its class; dataclasses with checks of our own would take longer to make than it takes to import.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated, Any, Self

import msgspec

from pipeline.errors import INPUT_ERRORS, InputError
from pipeline.media.process.wire import Nonsense
from pipeline.media.sampling.footage import ShotSpan
from pipeline.records.model_info import Preprocessing
from pipeline.records.segments import FrameMark, Quarantined, Segment, Sizing, TimeRange, VideoFacts
from pipeline.records.windows import Windows

_MAX_DETAIL = 10_000
"""Characters of an explanation; real ones have a tenth of it at most."""


class _Request(
    msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, tag_field="request", forbid_unknown_fields=True
):
    size_bytes: int
    """Of the file that is at hand."""
    max_pixels: int


class Plan(_Request, frozen=True):
    """Probe a video and cut it into segments."""

    rule: str
    shots: tuple[ShotSpan, ...]
    """Of the video, where the rule goes by them."""
    time_range: TimeRange
    windows: Windows | None
    sizing: Sizing


class Decode(_Request, frozen=True):
    """Decode consecutive segments of a video; with ``preprocessings``, only what they keep of a picture is wanted."""

    rule: str
    time_range: TimeRange
    windows: Windows | None
    facts: VideoFacts
    segments: tuple[Segment, ...]
    preprocessings: tuple[Preprocessing, ...]


class Draw(_Request, frozen=True):
    """Decode a still picture; with ``preprocessings``, only what they keep of the picture is wanted."""

    preprocessings: tuple[Preprocessing, ...]


Request = Plan | Decode | Draw


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower, tag_field="event", forbid_unknown_fields=True):
    pass


class InMemory(_Event, frozen=True):
    """A picture of ``whole_px``, or the part of it that is wanted, lies in the shared memory."""

    shape: tuple[int, int, int]
    offset: int
    whole_px: tuple[int, int]


class Painted(InMemory, frozen=True):
    """A sample of a video; the child fills its slot anew once the last picture in it is acknowledged.

    It belongs to ``count`` segments from ``segment`` on; ``ordinal`` and ``begins`` are those of ``succession.Taken``.
    """

    segment: int
    count: int
    ordinal: int
    begins: bool
    mark: FrameMark
    is_last_in_slot: bool


class Dropped(_Event, frozen=True):
    """The pictures of a segment that came so far do not count: it is decoded again, or fails without rows."""

    segment: int


class Ended(_Event, frozen=True):
    """No more pictures of a segment come."""

    segment: int
    failure: Quarantined | None
    decoded_frames: Annotated[int, msgspec.Meta(ge=0)] = 0
    """That came out of the decoder since the request came, or the segment before ended."""


class Planned(_Event, frozen=True):
    """The answer to a request to plan."""

    facts: VideoFacts
    segments: tuple[Segment, ...]


class Done(_Event, frozen=True):
    """A request to decode is answered."""


class Drawn(InMemory, frozen=True):
    """The answer to a request to draw; the picture lies there until the next request."""


class Failed(_Event, frozen=True):
    """The file is unusable; ``reason`` is a key of ``INPUT_ERRORS``."""

    reason: str
    detail: str

    @classmethod
    def of(cls, error: InputError) -> Self:
        """What the parent raises again."""
        return cls(reason=error.reason, detail=error.detail)


class StorageFailed(_Event, frozen=True):
    """The parent could not read the file, and knows why."""


Event = Painted | Dropped | Ended | Planned | Done | Drawn | Failed | StorageFailed


def written(message: Request | Event) -> bytes:
    """A message as JSON."""
    return _ENCODER.encode(message)


def read_request(message: bytes | None) -> Request:
    """Read one message of the parent, which is trusted."""
    request: Request = _REQUESTS.decode(message or b"")
    return request


def read_event(message: bytes) -> Event:
    """Read one message of the child.

    Raises:
        Nonsense: it is no event.
    """
    try:
        event: Event = _EVENTS.decode(message)
        for number in _integers(event):
            if not -(1 << 63) <= number < 1 << 63:  # what is written to files must not fail there
                raise ValueError("an integer of more than 64 bits")
        failure = event if isinstance(event, Failed) else event.failure if isinstance(event, Ended) else None
        if failure is not None:
            _check_failure(failure)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise Nonsense(f"{type(error).__name__}: {str(error)[:200]}") from None
    return event


def _check_failure(failure: Failed | Quarantined) -> None:
    INPUT_ERRORS[failure.reason]
    if len(failure.detail) > _MAX_DETAIL:
        raise ValueError(f"an explanation of {len(failure.detail)} characters")


def _integers(value: object) -> Iterator[int]:
    """All in a message, however deep."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, Fraction):
        yield from (value.numerator, value.denominator)
    elif isinstance(value, tuple):
        for part in value:
            yield from _integers(part)
    elif not isinstance(value, str | float | None):
        for name in getattr(value, "__struct_fields__", None) or value.__slots__:  # type: ignore[attr-defined]
            yield from _integers(getattr(value, name))


def _write_fraction(value: object) -> str:
    if not isinstance(value, Fraction):
        raise TypeError(f"no message holds a {type(value).__name__}")
    return f"{value.numerator}/{value.denominator}"


def _read_fraction(kind: type, value: Any) -> Fraction:
    """Never by ``Fraction`` itself, which works for hours on ``1e999999999``."""
    parts = re.fullmatch(r"(-?\d+)/([1-9]\d*)", value, re.ASCII)
    if kind is not Fraction or parts is None:
        raise ValueError("no fraction")
    return Fraction(int(parts[1]), int(parts[2]))


_ENCODER = msgspec.json.Encoder(enc_hook=_write_fraction)
_REQUESTS = msgspec.json.Decoder(Request, dec_hook=_read_fraction)
_EVENTS = msgspec.json.Decoder(Event, dec_hook=_read_fraction)
