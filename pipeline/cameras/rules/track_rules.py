"""Lines and zones together, over the places of a session's objects: as they come, or as they are stored."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from pipeline.cameras.rules.happenings import Happening
from pipeline.cameras.rules.lines import LineRule
from pipeline.cameras.rules.zones import ZoneRule
from pipeline.records.events import TrackPoint
from pipeline.records.geometry import Line, Zone


class TrackRules:
    """The lines and zones of one session."""

    def __init__(self, *, lines: Sequence[Line], zones: Sequence[Zone]) -> None:
        self._rules: tuple[LineRule | ZoneRule, ...] = (*map(LineRule, lines), *map(ZoneRule, zones))

    def point(self, point: TrackPoint) -> list[Happening]:
        """Take the next place of an object."""
        return [happening for rule in self._rules if (happening := rule.point(point)) is not None]

    def ended(self, track: int) -> list[Happening]:
        """An object is not seen any more."""
        return [happening for rule in self._rules if (happening := rule.ended(track)) is not None]


def happenings_of(
    points: Iterable[TrackPoint], *, lines: Sequence[Line], zones: Sequence[Zone], open_tracks: frozenset[int]
) -> list[Happening]:
    """What rules would have told of a session whose tracks are stored.

    Args:
        points: the session's, in any order.
        lines: what is asked of them.
        zones: likewise.
        open_tracks: those that may go on: they have not left the zones that they are in.

    Returns:
        What has happened, in the order of time: to the frame what the same rules tell live.
    """
    rules = TrackRules(lines=lines, zones=zones)
    return sorted(_all(rules, points, open_tracks=open_tracks), key=lambda happening: happening.at.time_s)


def _all(rules: TrackRules, points: Iterable[TrackPoint], *, open_tracks: frozenset[int]) -> Iterator[Happening]:
    ordered = sorted(points, key=lambda point: (point.track, point.time_s, point.pts))
    for track, places in groupby(ordered, key=lambda point: point.track):
        for place in places:
            yield from rules.point(place)
        if track not in open_tracks:
            yield from rules.ended(track)
