"""Which object of a picture is which object of the pictures before it."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from pipeline.cameras.analysis.constant_velocity import ConstantVelocity, size_of
from pipeline.cameras.rules.happenings import Moment
from pipeline.records.geometry import Box, Detection

_MISSED_S = 1.0
"""An object that is missed for so long keeps its number."""

_GONE_S = 0.5
"""An object that is missed for so long before a pause has left: the gate closes only a second after the last motion."""

_FREE_S = 0.3
"""An object that was not seen often enough to have a number is given up after this, or after two pictures."""

_SEEN_OFTEN, _SEEN_TWICE = 3, 2
"""An object has a number once it was seen so often; where pictures are far apart, twice is enough."""

_FAR_APART_S = 0.35

_FIRST_INTERVAL_S = 0.5
"""Between two pictures, while nobody knows yet."""

_OTHER_SIZE, _OTHER_SIZE_AT_EDGE = 1.2, 0.3
"""What is added to the distance, in sizes, for each e-fold of size; at the picture's edge sizes change quickly."""

_OTHER_LABEL = 0.5
"""Likewise for another label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """How far from where it is expected an object may be found."""

    nearest: float
    """In its sizes, as ``farthest``: closer is always close enough."""
    farthest: float
    deviations: float

    def of(self, uncertainty: float) -> float:
        return max(self.nearest, min(self.farthest, self.deviations * uncertainty))


_SURE = _Reach(nearest=0.6, farthest=1.2, deviations=2.0)
"""What is found here is the object."""

_NEW = _Reach(nearest=0.4, farthest=2.5, deviations=3.0)
"""What is found here is an object that has no number yet."""

_POSSIBLE = _Reach(nearest=1.0, farthest=2.5, deviations=3.5)
_POSSIBLE_AT_EDGE = _Reach(nearest=1.5, farthest=2.5, deviations=3.5)
"""What is found here may be the object: once it was seen often enough to have a number, that is this object's.

Of one that the same edge of the picture cuts, the middle jumps.
"""

_EDGE = 0.02
"""A box that comes so near to the picture's edge is cut by it."""

_MISSING, _MISSING_NEW = 0.9, 1.0
"""It is better to miss an object than to find it this much farther away than the others would be found instead."""

_SAME_OVERLAP = 0.6
"""A box that shares so much with an object's box (or lies in it so far) is that object a second time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one object was in one picture."""

    track: int
    at: Moment
    detection: Detection


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What a picture tells of objects."""

    places: Sequence[Place] = ()
    """In the order of time; also those in earlier pictures of an object that has its number only now."""
    ended: Sequence[int] = ()
    """Objects that are given up."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Object:
    filter: ConstantVelocity
    last: Detection
    last_s: float
    number: int | None = None
    waiting: list[tuple[Moment, Detection]] = field(default_factory=list)
    """Its places that were not told yet: it has no number."""

    def see(self, detection: Detection, at: Moment) -> None:
        self.filter.update(detection.box, self.missed_s(at.time_s))
        self.last, self.last_s = detection, at.time_s
        self.waiting.append((at, detection))

    def missed_s(self, time_s: float) -> float:
        return max(0.0, time_s - self.last_s)

    def has_left(self, time_s: float, *, usual_s: float) -> bool:
        """Whether it is no longer in the picture, by where it went."""
        expected = self.filter.predicted(self.missed_s(time_s), usual_s=usual_s)
        return not (0 <= expected.x <= 1 and 0 <= expected.y <= 1)

    def distance(self, detection: Detection, time_s: float, *, usual_s: float, within: _Reach | None = None) -> float:
        """How unlikely it is that this is the object, in its sizes; infinite where it cannot be."""
        after_s = self.missed_s(time_s)
        expected, centre = self.filter.predicted(after_s, usual_s=usual_s), detection.box.centre
        size = (self.filter.size + size_of(detection.box)) / 2
        away = math.hypot(centre.x - expected.x, centre.y - expected.y) / size
        away += _size_weight(detection.box) * abs(math.log(size_of(detection.box) / self.filter.size))
        reach = within or (_NEW if self.number is None else _SURE)
        if away > reach.of(self.filter.uncertainty(after_s) / size):
            return math.inf
        return away + (_OTHER_LABEL if detection.label != self.last.label else 0)


class Tracker:
    """Of one session. Numbers begin with 1 and none is given twice; pictures come in the order of time."""

    def __init__(self) -> None:
        self._objects: list[_Object] = []
        self._last_number = 0
        self._last_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=15)

    def follow(self, detections: Sequence[Detection], at: Moment) -> Tracked:
        """Take all objects of the next picture."""
        self._count_interval(at.time_s)
        interval_s = self._interval_s
        ended = self._give_up(at.time_s, interval_s)
        left = list(detections)
        seen: list[tuple[_Object, Detection]] = []
        for has_number in (True, False):  # who is known comes first
            objects = self._expected(at.time_s, interval_s, has_number=has_number)
            distances = [[each.distance(new, at.time_s, usual_s=interval_s) for new in left] for each in objects]
            pairs = _assigned(distances, missing=_MISSING if has_number else _MISSING_NEW)
            seen += [(objects[row], left[column]) for row, column in pairs]
            taken = {column for _, column in pairs}
            left = [detection for column, detection in enumerate(left) if column not in taken]
        for each, detection in seen:
            each.see(detection, at)
        places = [place for each, _ in seen for place in self._places(each, interval_s)]
        known = [detection.box for _, detection in seen]
        for detection in left:
            if not any(_is_same(detection.box, box) for box in known):
                self._begin(detection, at)
                known.append(detection.box)
        return Tracked(places=sorted(places, key=lambda place: place.at.time_s), ended=ended)

    def pause(self, for_s: float) -> Tracked:
        """Nobody looked for a while, because nothing moved: who was in view is where he was, and is not missed.

        Who was being missed already had left before that.
        """
        gone_s = max(_GONE_S, 1.5 * self._interval_s)
        latest_s = self._last_s or 0.0
        gone = [each for each in self._objects if each.number is None or each.missed_s(latest_s) > gone_s]
        self._objects = [each for each in self._objects if each not in gone]
        for each in self._objects:
            each.last_s += for_s
        self._last_s = latest_s + for_s
        return Tracked(ended=[each.number for each in gone if each.number is not None])

    def end(self) -> Tracked:
        """The session is over, and all its objects are given up."""
        ended = [each.number for each in self._objects if each.number is not None]
        self._objects = []
        return Tracked(ended=ended)

    @property
    def _interval_s(self) -> float:
        """Between two pictures, as a rule."""
        return median(self._intervals_s) if self._intervals_s else _FIRST_INTERVAL_S

    def _count_interval(self, time_s: float) -> None:
        if self._last_s is not None and time_s > self._last_s:
            self._intervals_s.append(time_s - self._last_s)
        self._last_s = time_s

    def _expected(self, time_s: float, interval_s: float, *, has_number: bool) -> list[_Object]:
        """Objects that may be seen again without further proof."""
        longest_s = _longest_s(interval_s)
        return [
            each
            for each in self._objects
            if (each.number is not None) == has_number and each.missed_s(time_s) <= longest_s
        ]

    def _give_up(self, time_s: float, interval_s: float) -> list[int]:
        """Forget objects that were missed for too long, and tell the numbers of those that had one."""
        unnumbered_s = min(_longest_s(interval_s), max(_FREE_S, 2.5 * interval_s))
        # One who came back in time gets his number back only after some pictures.
        numbered_s = _longest_s(interval_s) + _SEEN_OFTEN * interval_s
        kept, ended = [], []
        for each in self._objects:
            if each.missed_s(time_s) <= (unnumbered_s if each.number is None else numbered_s):
                kept.append(each)
            elif each.number is not None:
                ended.append(each.number)
        self._objects = kept
        return ended

    def _begin(self, detection: Detection, at: Moment) -> None:
        new = _Object(filter=ConstantVelocity(detection.box), last=detection, last_s=at.time_s)
        new.waiting.append((at, detection))
        self._objects.append(new)

    def _places(self, seen: _Object, interval_s: float) -> list[Place]:
        """Where an object was that has just been seen, if it has a number by now."""
        enough = _SEEN_TWICE if interval_s > _FAR_APART_S else _SEEN_OFTEN
        if seen.number is None and len(seen.waiting) >= enough:
            seen.number = self._number_for(*seen.waiting[0], interval_s)
        if seen.number is None:
            return []
        waiting, seen.waiting = seen.waiting, []
        return [Place(track=seen.number, at=at, detection=detection) for at, detection in waiting]

    def _number_for(self, at: Moment, detection: Detection, interval_s: float) -> int:
        """The number of an object that was first seen here: that of one that has been missed since, or a new one."""
        nearest, number = math.inf, None
        for each in self._expected(at.time_s, interval_s, has_number=True):
            if each.last_s < at.time_s and not each.has_left(at.time_s, usual_s=interval_s):
                reach = _POSSIBLE_AT_EDGE if _edges(each.last.box) & _edges(detection.box) else _POSSIBLE
                distance = each.distance(detection, at.time_s, usual_s=interval_s, within=reach)
                if distance < nearest:
                    nearest, number = distance, each.number
        if number is None:
            self._last_number += 1
            return self._last_number
        self._objects = [each for each in self._objects if each.number != number]
        return number


def _longest_s(interval_s: float) -> float:
    """How long ago an object may have been seen; the interval to the next picture is no missing."""
    return _MISSED_S + 1.5 * interval_s


def _assigned(distances: list[list[float]], *, missing: float) -> list[tuple[int, int]]:
    """Pairs of an object and a detection, so that all of them together are as near as can be.

    Args:
        distances: of each object to each detection; infinite where they cannot be the same.
        missing: the distance from which it is better to miss an object.
    """
    if not distances or not distances[0]:
        return []
    from scipy.optimize import linear_sum_assignment

    table = np.array(distances)
    num_objects, num_detections = table.shape
    never = 1 + num_objects * (1 + table[np.isfinite(table)].max(initial=0))
    # Each object may also be missed: a column of its own stands for that.
    missed = np.where(np.eye(num_objects, dtype=np.bool_), min(missing, never), never)
    rows, columns = linear_sum_assignment(np.hstack([np.minimum(table, 2 * never), missed]))
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return [(row, column) for row, column in pairs if column < num_detections]


def _size_weight(box: Box) -> float:
    return _OTHER_SIZE_AT_EDGE if _edges(box) else _OTHER_SIZE


def _edges(box: Box) -> set[int]:
    """The picture's edges that a box is cut by."""
    margins = (box.left, box.top, 1 - box.left - box.width, 1 - box.top - box.height)
    return {edge for edge, margin in enumerate(margins) if margin < _EDGE}


def _is_same(box: Box, known: Box) -> bool:
    across = min(box.left + box.width, known.left + known.width) - max(box.left, known.left)
    down = min(box.top + box.height, known.top + known.height) - max(box.top, known.top)
    shared = max(0.0, across) * max(0.0, down)
    return shared > _SAME_OVERLAP * min(size_of(box), size_of(known)) ** 2
