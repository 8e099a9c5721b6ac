"""What streams bring beside features: the tables ``gaps``, ``events`` and ``tracks``, and their rows as values."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime

import pyarrow as pa

from pipeline.records.documents import (
    Document,
    document_of,
    number,
    number_or_none,
    part,
    text,
    text_or_none,
    whole,
    whole_or_none,
)
from pipeline.records.events import Direction, Event, EventType, TrackPoint
from pipeline.records.geometry import Box
from pipeline.records.streams import Gap, GapReason
from pipeline.records.tables import MOMENT, Table

_BOX = pa.struct([(name, pa.float64()) for name in ("left", "top", "width", "height")])
"""In shares of the picture."""

GAPS = Table(
    name="gaps",
    schema=pa.schema(
        [
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("stream", pa.string()),
            ("start_pts", pa.int64()),
            ("end_pts", pa.int64()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("captured_from", MOMENT),
            ("captured_to", MOMENT),
            ("reason", pa.string()),
            ("num_slots", pa.int32()),
            ("filled", pa.bool_()),
        ]
    ),
    key=("stream", "captured_from", "start_pts"),
    growth="derived",
)
"""A row a stretch of slots of a stream that have no row, or got it later. Derived: ``filled`` follows from footers."""

EVENTS = Table(
    name="events",
    schema=pa.schema(
        [
            ("event_id", pa.string()),
            ("video_id", pa.string()),
            ("uri", pa.string()),
            ("stream", pa.string()),
            ("type", pa.string()),
            ("pts", pa.int64()),
            ("time_s", pa.float64()),
            ("captured_at", MOMENT),
            ("track", pa.int64()),
            ("label", pa.string()),
            ("confidence", pa.float64()),
            ("box", _BOX),
            ("name", pa.string()),
            ("direction", pa.string()),
            ("value", pa.string()),
        ]
    ),
    key=("stream", "event_id"),
    growth="derived",
)
"""A row an event of a stream; ``value`` is a JSON document. Derived from the journal, as ``TRACKS`` is."""

TRACKS = Table(
    name="tracks",
    schema=pa.schema(
        [
            ("video_id", pa.string()),
            ("stream", pa.string()),
            ("track", pa.int64()),
            ("pts", pa.int64()),
            ("time_s", pa.float64()),
            ("captured_at", MOMENT),
            ("box", _BOX),
            ("label", pa.string()),
            ("confidence", pa.float64()),
        ]
    ),
    key=("video_id", "track", "pts"),
    growth="derived",
)
"""A row an object in a picture."""

STREAM_TABLES = (GAPS, EVENTS, TRACKS)


def gap_rows(gaps: Sequence[Gap], *, filled: Sequence[bool] | None = None) -> pa.Table:
    """Gaps as rows of ``GAPS``; none of them is ``filled`` where nothing is said."""
    is_filled = [False] * len(gaps) if filled is None else filled
    rows = [
        {**{name: getattr(gap, name) for name in Gap.__slots__}, "filled": value}
        for gap, value in zip(gaps, is_filled, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=GAPS.schema)


def gap_of(row: Document) -> Gap:
    """The gap of a row of ``GAPS``.

    Raises:
        KeyError, TypeError, ValueError: it is none; so do ``event_of`` and ``track_point_of``.
    """
    return Gap(
        video_id=text_or_none(row, "video_id"),
        uri=text(row, "uri"),
        stream=text(row, "stream"),
        reason=GapReason(text(row, "reason")),
        num_slots=whole(row, "num_slots"),
        start_pts=whole_or_none(row, "start_pts"),
        end_pts=whole_or_none(row, "end_pts"),
        start_s=number_or_none(row, "start_s"),
        end_s=number_or_none(row, "end_s"),
        captured_from=_moment(row, "captured_from"),
        captured_to=_moment(row, "captured_to"),
    )


def event_rows(events: Iterable[Event]) -> pa.Table:
    """Events as rows of ``EVENTS``."""
    rows = [
        {
            **{name: getattr(event, name) for name in Event.__slots__},
            "box": None if event.box is None else asdict(event.box),
            "value": None if event.value is None else json.dumps(event.value),
        }
        for event in events
    ]
    return pa.Table.from_pylist(rows, schema=EVENTS.schema)


def event_of(row: Document) -> Event:
    """The event of a row of ``EVENTS``."""
    value, direction = text_or_none(row, "value"), text_or_none(row, "direction")
    return Event(
        event_id=text(row, "event_id"),
        video_id=text_or_none(row, "video_id"),
        uri=text(row, "uri"),
        stream=text(row, "stream"),
        type=EventType(text(row, "type")),
        pts=whole_or_none(row, "pts"),
        time_s=number_or_none(row, "time_s"),
        captured_at=_moment(row, "captured_at"),
        track=whole_or_none(row, "track"),
        label=text_or_none(row, "label"),
        confidence=number_or_none(row, "confidence"),
        box=None if row["box"] is None else _box(part(row, "box")),
        name=text_or_none(row, "name"),
        direction=None if direction is None else Direction(direction),
        value=None if value is None else document_of(json.loads(value), name="value"),
    )


def track_rows(points: Iterable[TrackPoint]) -> pa.Table:
    """Where objects were, as rows of ``TRACKS``."""
    rows = [
        {**{name: getattr(point, name) for name in TrackPoint.__slots__}, "box": asdict(point.box)} for point in points
    ]
    return pa.Table.from_pylist(rows, schema=TRACKS.schema)


def track_point_of(row: Document) -> TrackPoint:
    """Where an object was, by a row of ``TRACKS``."""
    return TrackPoint(
        video_id=text(row, "video_id"),
        stream=text(row, "stream"),
        track=whole(row, "track"),
        pts=whole(row, "pts"),
        time_s=number(row, "time_s"),
        captured_at=_moment(row, "captured_at"),
        box=_box(part(row, "box")),
        label=text_or_none(row, "label"),
        confidence=number_or_none(row, "confidence"),
    )


def _box(row: Document) -> Box:
    return Box(**{name: number(row, name) for name in Box.__slots__})


def _moment(row: Document, name: str) -> datetime:
    value = row[name]
    if not isinstance(value, datetime):
        raise TypeError(f"{name} is {value!r}, not a time")
    return value
