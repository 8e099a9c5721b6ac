"""What a decoder process says, believed only as far as its shape goes (runs in the parent)."""

import functools
import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from pipeline.errors import INPUT_ERRORS
from pipeline.media.process.wire import Nonsense
from pipeline.records.segments import FrameMark, Quarantined, Segment, VideoFacts, VideoPlan

_Record = TypeVar("_Record", FrameMark, Quarantined, Segment, VideoFacts)


@dataclass(frozen=True, slots=True)
class Painted:
    """A sample, or the part of it that was asked for, lies in the shared memory.

    The child fills the slot anew once the last picture in it is acknowledged.
    """

    segment: int
    mark: FrameMark
    shape: tuple[int, int, int]
    offset: int
    whole_px: tuple[int, int]
    is_last_in_slot: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    """The pictures of a segment that came so far do not count: it is decoded again, or fails without rows."""

    segment: int


@dataclass(frozen=True, slots=True)
class Ended:
    """No more pictures of a segment come."""

    segment: int
    failure: Quarantined | None


@dataclass(frozen=True, slots=True)
class Planned:
    """The answer to a request to plan."""

    plan: VideoPlan


@dataclass(frozen=True, slots=True)
class Done:
    """A request to decode is answered."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The video is unusable; ``reason`` is a key of ``INPUT_ERRORS``, or ``None``: the store failed."""

    reason: str | None
    detail: str


Event = Painted | Dropped | Ended | Planned | Done | Failed


def read_event(message: bytes) -> Event:
    """Read one message of the child.

    Raises:
        Nonsense: it is no event.
    """
    try:
        document = json.loads(message)
        return _read(document["event"], document)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise Nonsense(f"{type(error).__name__}: {str(error)[:200]}") from None


def _read(kind: str, document: Mapping[str, Any]) -> Event:
    if kind == "painted":
        height, width, depth = (_int(number) for number in document["shape"])
        whole_height, whole_width = (_int(number) for number in document["whole"])
        mark, segment, offset = _checked(FrameMark(**document["mark"])), document["segment"], document["offset"]
        whole_px, is_last = (whole_height, whole_width), document["is_last"] is True
        return Painted(_int(segment), mark, (height, width, depth), _int(offset), whole_px, is_last)
    if kind == "dropped":
        return Dropped(_int(document["segment"]))
    if kind == "ended":
        failure = document["failure"]
        return Ended(_int(document["segment"]), None if failure is None else _failure(failure))
    if kind == "planned":
        segments = tuple(_checked(Segment.from_json(segment)) for segment in document["segments"])
        return Planned(VideoPlan(facts=_checked(VideoFacts.from_json(document["facts"])), segments=segments))
    if kind == "failed":
        INPUT_ERRORS[document["reason"]]
        return Failed(document["reason"], str(document["detail"])[:1000])
    if kind == "storage_failed":
        return Failed(None, "")
    if kind == "done":
        return Done()
    raise ValueError(f"event {kind!r}")


def _failure(document: dict[str, Any]) -> Quarantined:
    failure = _checked(Quarantined(**document))
    INPUT_ERRORS[failure.reason]
    return failure


def _int(value: object) -> int:
    if not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{str(value)[:40]} is no 64-bit integer")
    return value


def _checked(record: _Record) -> _Record:
    """The record, if its fields are of their types: what is written to files must not fail there."""
    for name, classes in _classes(cast(Hashable, type(record))).items():
        value = getattr(record, name)
        if not isinstance(value, classes):
            raise ValueError(f"{name} is a {type(value).__name__}")
        for number in value if isinstance(value, tuple) else [value]:
            if isinstance(number, int) or isinstance(value, tuple):
                _int(number)
    return record


@functools.cache
def _classes(record: Hashable) -> dict[str, tuple[type, ...]]:
    """Field names and the classes that their annotations allow."""
    return {
        name: tuple(get_origin(part) or part for part in (get_args(hint) if isinstance(hint, UnionType) else [hint]))
        for name, hint in get_type_hints(cast(type, record)).items()
    }
