"""``zone_entered`` and ``zone_left``: where an object stands, and for how long."""

from dataclasses import dataclass
from itertools import pairwise

from pipeline.cameras.rules.happenings import Happening, Moment
from pipeline.records.documents import Document
from pipeline.records.events import EventType, TrackPoint
from pipeline.records.geometry import Point, Zone


@dataclass(slots=True, kw_only=True)
class _Stay:
    """How one object stands to the zone."""

    last: TrackPoint
    entered: TrackPoint | None = None
    """Its first place in the zone, while it is in it."""
    first_change: TrackPoint | None = None
    """Where it was first seen to have gone in or out, once; the next picture shows whether it stays so."""


class ZoneRule:
    """One zone, over the places of any objects. Each object's places come in the order of time."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._stays: dict[int, _Stay] = {}

    def point(self, point: TrackPoint) -> Happening | None:
        """Take the next place of an object, and tell whether it has gone in or out.

        The event is that of the first picture in (or out of) the zone; the one after it confirms it.
        """
        stay = self._stays.setdefault(point.track, _Stay(last=point))
        stay.last = point
        if is_within(self._zone, point.box.bottom_centre) == (stay.entered is not None):
            stay.first_change = None
            return None
        if stay.first_change is None:
            stay.first_change = point
            return None
        first, stay.first_change = stay.first_change, None
        if stay.entered is None:
            stay.entered = first
            return self._happening(EventType.ZONE_ENTERED, first)
        entered, stay.entered = stay.entered, None
        return self._left(entered, first)

    def ended(self, track: int) -> Happening | None:
        """Forget an object; one that was in the zone leaves it where it was last seen, or was first seen outside."""
        stay = self._stays.pop(track, None)
        if stay is None or stay.entered is None:
            return None
        return self._left(stay.entered, stay.first_change or stay.last)

    def _left(self, entered: TrackPoint, point: TrackPoint) -> Happening:
        return self._happening(EventType.ZONE_LEFT, point, {"dwell_s": round(point.time_s - entered.time_s, 6)})

    def _happening(self, kind: EventType, point: TrackPoint, value: Document | None = None) -> Happening:
        return Happening(
            type=kind,
            at=Moment.of(point),
            track=point.track,
            label=point.label,
            confidence=point.confidence,
            box=point.box,
            name=self._zone.name,
            value=value,
        )


def is_within(zone: Zone, point: Point) -> bool:
    """Whether a point lies in a polygon: a ray from it to the right meets an odd number of edges."""
    meets = 0
    for a, b in pairwise((*zone.points, zone.points[0])):
        if (a.y > point.y) != (b.y > point.y):
            meets += point.x < a.x + (point.y - a.y) * (b.x - a.x) / (b.y - a.y)
    return meets % 2 == 1
