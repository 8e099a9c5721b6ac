"""Lines and zones together, over the places of a session's objects: as they come, or as they are stored."""

from collections.abc import Sequence
from datetime import datetime

from pipeline.cameras.rules.happenings import Happening
from pipeline.cameras.rules.lines import LineRule
from pipeline.cameras.rules.zones import ZoneRule
from pipeline.records.events import TrackPoint
from pipeline.records.geometry import Line, Zone

_SURELY_ENDED_S = 86400.0
"""A track that has no point for so long has ended: it has none while its object stands still and the gate is closed."""


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


class StoredTracks:
    """The lines and zones of one session whose tracks are stored, over its points one by one.

    The points of a track come in the order of time, and no track is far ahead of another one.
    """

    def __init__(self, *, lines: Sequence[Line], zones: Sequence[Zone]) -> None:
        self._rules = TrackRules(lines=lines, zones=zones)
        self._last: dict[int, TrackPoint] = {}
        """Of each track that has not ended, its last point, the oldest first."""

    def point(self, point: TrackPoint) -> list[Happening]:
        """Take the next point, and tell what it and the tracks that have ended by then tell."""
        self._last.pop(point.track, None)
        self._last[point.track] = point
        happenings = self._rules.point(point)
        while (oldest := next(iter(self._last.values()))).time_s < point.time_s - _SURELY_ENDED_S:
            del self._last[oldest.track]
            happenings += self._rules.ended(oldest.track)
        return happenings

    def end(self, *, open_since: datetime | None = None) -> list[Happening]:
        """There are no more points.

        Args:
            open_since: the session goes on, and a track that was seen after this time may go on as well.
        """
        ended = [track for track, last in self._last.items() if open_since is None or last.captured_at < open_since]
        return [happening for track in ended for happening in self._rules.ended(track)]
