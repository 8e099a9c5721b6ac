"""``line_crossed``: the centre of an object passes from one side of a line to the other, and stays there."""

from dataclasses import dataclass

from pipeline.cameras.rules.happenings import Happening, Moment
from pipeline.records.events import Direction, EventType, TrackPoint
from pipeline.records.geometry import Line, Point


@dataclass(slots=True, kw_only=True)
class _Passage:
    """How one object stands to the line."""

    side: int
    """Where it belongs: 1 is right of the line, -1 left of it."""
    before: Point
    """Its last place on that side."""
    first_past: TrackPoint | None = None
    """Where it was first seen on the other side, once; the next picture shows whether it stays."""


class LineRule:
    """One line, over the places of any objects. Each object's places come in the order of time."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._passages: dict[int, _Passage] = {}

    def point(self, point: TrackPoint) -> Happening | None:
        """Take the next place of an object, and tell whether it has crossed.

        The event is that of the first picture past the line; the one after it confirms it. A centre exactly on the line
        is on neither side, and crossing the line's prolongation is not crossing the line.
        """
        centre = point.box.centre
        side = side_of(self._line, centre)
        passage = self._passages.get(point.track)
        if passage is None:
            if side:
                self._passages[point.track] = _Passage(side=side, before=centre)
            return None
        if side != -passage.side:
            passage.first_past = None
            if side:
                passage.before = centre
            return None
        if passage.first_past is None:
            passage.first_past = point
            return None
        first, before = passage.first_past, passage.before
        passage.side, passage.before, passage.first_past = side, centre, None
        return self._crossed(first, side=side) if _meets(self._line, before, first.box.centre) else None

    def ended(self, track: int) -> Happening | None:
        """Forget an object; one that was seen past the line only once has not crossed it."""
        self._passages.pop(track, None)
        return None

    def _crossed(self, point: TrackPoint, *, side: int) -> Happening:
        return Happening(
            type=EventType.LINE_CROSSED,
            at=Moment.of(point),
            track=point.track,
            label=point.label,
            confidence=point.confidence,
            box=point.box,
            name=self._line.name,
            direction=Direction.LEFT_TO_RIGHT if side > 0 else Direction.RIGHT_TO_LEFT,
        )


def side_of(line: Line, point: Point) -> int:
    """On which side a point lies, as seen from the line's first point to its second: 1 right, -1 left, 0 on it."""
    along_x, along_y = line.second.x - line.first.x, line.second.y - line.first.y
    turn = along_x * (point.y - line.first.y) - along_y * (point.x - line.first.x)
    return (turn > 0) - (turn < 0)  # y grows downwards, so what turns right is positive


def _meets(line: Line, start: Point, end: Point) -> bool:
    """Whether the way between two points on different sides meets the line between its two ends."""
    way = Line(name="way", first=start, second=end)
    return side_of(way, line.first) * side_of(way, line.second) <= 0
