"""What is known of a live stream: how it is watched, its sessions, its states, and the slots that it lacks."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Self

from pipeline.errors import UsageError
from pipeline.records.documents import Document, text, whole
from pipeline.records.geometry import Line, Zone

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


class StreamState(StrEnum):
    """What a stream is doing."""

    CONNECTING = "connecting"
    PLAYING = "playing"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    STOPPED = "stopped"


class MotionLevel(StrEnum):
    """How much must move for the gate to open."""

    OFF = "off"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class GapReason(StrEnum):
    """Why a slot has no row."""

    DROPPED = "dropped"
    """The model was busy, and newer pictures came."""
    GATED = "gated"
    """Nothing moved."""
    DISCONNECTED = "disconnected"
    """Nobody was connected, or what was received was lost by a kill."""
    STALLED = "stalled"
    """The camera sent nothing."""
    CORRUPT = "corrupt"
    """There is no sound frame in it."""


FILLABLE = frozenset({GapReason.DROPPED, GapReason.GATED})
"""Gaps inside a session, whose frames a recording may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """How one stream is watched. Credentials are no part of it: they travel apart, and are never written down."""

    name: str
    source: str
    """Its address, without user info and query: what may be shown."""
    rate_hz: Fraction
    motion: MotionLevel = MotionLevel.OFF
    detect: str = "off"
    """``off``, ``motion``, a detector's name, or the address of an extension server."""
    detect_rate_hz: Fraction | None = None
    """``None``: the sampling rate."""
    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    head: str | None = None
    record: str | None = None
    """Where recordings go; ``None``: nothing is recorded."""

    def __post_init__(self) -> None:
        check_stream_name(self.name)


def check_stream_name(name: str) -> None:
    """Make sure that a name can stand in file names, addresses and labels.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"bad stream name {name!r}: use at most 64 letters, digits, _ . -")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What came in from one connection to the next: a video of the lake."""

    video_id: str
    uri: str
    stream: str
    started_at: datetime
    """The wall clock of its first frame, UTC."""
    time_base: Fraction
    start_pts: int
    container: str
    codec: str
    width: int
    height: int
    rotation: int
    pix_fmt: str

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        document = {name: getattr(self, name) for name in self.__slots__}
        return document | {"started_at": self.started_at.isoformat(), "time_base": str(self.time_base)}

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError, ZeroDivisionError: it is no such document.
        """
        return cls(
            video_id=text(document, "video_id"),
            uri=text(document, "uri"),
            stream=text(document, "stream"),
            started_at=datetime.fromisoformat(text(document, "started_at")),
            time_base=Fraction(text(document, "time_base")),
            start_pts=whole(document, "start_pts"),
            container=text(document, "container"),
            codec=text(document, "codec"),
            width=whole(document, "width"),
            height=whole(document, "height"),
            rotation=whole(document, "rotation"),
            pix_fmt=text(document, "pix_fmt"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Slots without a row: ``num_slots`` of them, in the half-open range from start to end.

    Between sessions there is no pts, and ``video_id`` is that of the session before, or null before the first one.
    """

    video_id: str | None
    uri: str
    stream: str
    reason: GapReason
    num_slots: int
    start_pts: int | None
    end_pts: int | None
    start_s: float | None
    end_s: float | None
    captured_from: datetime
    captured_to: datetime
