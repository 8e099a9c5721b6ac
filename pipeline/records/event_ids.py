"""Names for events: a later event of a stream has a greater one, and no name is given twice."""

from datetime import UTC, datetime, timedelta

from pipeline.records.streams import check_stream_name

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGITS = 14
"""Of microseconds since 1970 in hexadecimal: enough until the year 4253, and all names sort as their times do."""


class EventIds:
    """Gives the events of one stream their names, in the order in which they happen.

    A name is the time in microseconds, a step further where the clock has not moved on or was set back, and the name of
    the stream: so the names of all streams of a lake sort by time, and those of one stream never repeat.
    """

    def __init__(self, stream: str, *, last: str | None = None) -> None:
        """Begin behind ``last``, the last name that this stream's events had in an earlier run, if any."""
        check_stream_name(stream)
        self._stream = stream
        self._last_us = 0 if last is None else microseconds_of(last)

    def next(self, at: datetime) -> str:
        """The name of an event that happened ``at`` this time, or is learned of then."""
        self._last_us = max(self._last_us + 1, (at - _EPOCH) // _MICROSECOND)
        return f"{self._last_us:0{_DIGITS}x}-{self._stream}"


def microseconds_of(event_id: str) -> int:
    """The time in an event's name.

    Raises:
        ValueError: it is none of ours.
    """
    digits, dash, _ = event_id.partition("-")
    if len(digits) != _DIGITS or not dash:
        raise ValueError(f"{event_id[:80]!r} is not the id of an event")
    return int(digits, 16)


def first_name_at(time: datetime) -> str:
    """What sorts before the names of all events from a time on, and behind those of all earlier ones."""
    return f"{max(0, (time - _EPOCH) // _MICROSECOND):0{_DIGITS}x}"
