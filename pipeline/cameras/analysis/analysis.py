"""One session looked at: its pictures in, the gate's state, events and places of objects out."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.cameras.analysis.detections import Detected, DetectionQueue
from pipeline.cameras.analysis.detector import Detector, Pixels
from pipeline.cameras.analysis.lighting import Luma
from pipeline.cameras.analysis.motion_gate import MotionGate
from pipeline.cameras.analysis.moving_regions import MovingRegions
from pipeline.cameras.analysis.tracker import Place, Tracked, Tracker
from pipeline.cameras.rules.happenings import Happening, Moment, NewEventId
from pipeline.cameras.rules.label_changes import LabelRule, Spoken
from pipeline.cameras.rules.track_rules import TrackRules
from pipeline.records.events import Event, TrackPoint
from pipeline.records.streams import Session, StreamSpec

DETECT_OFF = "off"
DETECT_MOTION = "motion"

_LAST_ANSWERS_S = 0.5
"""How long a session that is over waits for its detector: a stream stops within 2 s, whatever it is doing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A frame as the analysis takes it: each frame of the session, samples or not, in the order of time."""

    moment: Moment
    luma: Luma
    """``uint8[h, w]``, about 160 pixels wide."""
    is_corrupt: bool = False
    """Such a frame is passed over."""
    full: Pixels | None = None
    """Given where a detector that takes pictures is to look at it; ``motion`` needs none."""
    detect: bool = False
    """Whether objects are to be detected in it (``--detect-rate``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What there is to tell after a picture. Events and points may be of earlier pictures: each says its own time."""

    is_moving: bool
    """Whether the gate is open: a sample slot of this picture goes to the model. Always with ``--motion off``."""
    events: Sequence[Event] = ()
    points: Sequence[TrackPoint] = ()
    problem: str | None = None
    """Why the detector gave no answer lately; a stream shows it as its last error, and goes on."""


class Analysis:
    """Of one session: motion gate, objects, tracks, lines, zones and labels. Not for use by several threads.

    ``frame`` and ``label`` never wait: what a detector answers is in the ``Looked`` of a later picture. They are called
    in an event loop, in which the detector's answers are awaited. With a gate, a detector is shown only what moves; who
    stood still when the gate closed is where he was.
    """

    def __init__(
        self, spec: StreamSpec, *, session: Session, new_event_id: NewEventId, detector: Detector | None = None
    ) -> None:
        """Begin a session.

        Args:
            spec: what is looked for.
            session: whose events and tracks these are.
            new_event_id: gives each event its id.
            detector: takes the pictures, unless ``spec.detect`` is ``off`` or ``motion``. It is not closed here.
        """
        if (detector is None) != (spec.detect in (DETECT_OFF, DETECT_MOTION)):
            raise ValueError(f"a detector is given just where pictures are detected in, and --detect is {spec.detect}")
        self._session = session
        self._new_event_id = new_event_id
        self._gate = MotionGate(spec.motion)
        self._regions = MovingRegions() if spec.detect == DETECT_MOTION else None
        self._queue = DetectionQueue(detector) if detector is not None else None
        self._tracker = Tracker()
        self._rules = TrackRules(lines=spec.lines, zones=spec.zones)
        self._labels = LabelRule(spec.head) if spec.head is not None else None
        self._last: Moment | None = None
        self._closed_s: float | None = None
        """When the gate closed, while it is closed."""
        self._pauses: deque[tuple[float, float]] = deque()
        """When the gate opened again, and for how long nobody had looked; what is older is known to the tracker."""

    def frame(self, picture: Picture) -> Looked:
        """Look at the next picture."""
        at, happenings, detected = picture.moment, list[Happening](), list[Detected]()
        if not picture.is_corrupt:
            self._last = at
            happenings += _those(self._gate.look(picture.luma, at))
            if picture.detect and self._regions is not None:
                detected.append(Detected(at=at, detections=self._regions.find(picture.luma, at.time_s)))
            if self._queue is not None:
                self._note_gate(at.time_s)
                if picture.detect and picture.full is not None and self._gate.is_open:
                    self._queue.offer(at, picture.full)
        if self._queue is not None:
            detected += self._queue.take()
        return self._looked(happenings, self._followed(detected))

    def label(self, moment: Moment, label: str, *, confidence: float | None) -> Sequence[Event]:
        """Take what the stream's head says of a sample; samples come in the order of time."""
        if self._labels is None:
            raise ValueError("this stream has no head")
        happening = self._labels.sample(Spoken(at=moment, label=label, confidence=confidence))
        return self._events(_those(happening))

    async def end(self) -> Looked:
        """The session is over: what the detector still answers within half a second, and what ends with it."""
        happenings = _those(self._gate.end(self._last)) if self._last is not None else []
        tracked: list[Tracked] = []
        if self._queue is not None:
            tracked += self._followed(await self._queue.close(within_s=_LAST_ANSWERS_S))
        return self._looked(happenings, [*tracked, self._tracker.end()])

    def _note_gate(self, time_s: float) -> None:
        """Remember for how long a detector is shown nothing."""
        if not self._gate.is_open:
            self._closed_s = time_s if self._closed_s is None else self._closed_s
        elif self._closed_s is not None:
            self._pauses.append((time_s, time_s - self._closed_s))
            self._closed_s = None

    def _followed(self, detected: Iterable[Detected]) -> list[Tracked]:
        tracked = []
        for each in detected:
            while self._pauses and self._pauses[0][0] <= each.at.time_s:
                tracked.append(self._tracker.pause(self._pauses.popleft()[1]))
            tracked.append(self._tracker.follow(each.detections, each.at))
        return tracked

    def _looked(self, happenings: list[Happening], tracked: Iterable[Tracked]) -> Looked:
        points: list[TrackPoint] = []
        for each in tracked:
            for point in map(self._point, each.places):
                points.append(point)
                happenings += self._rules.point(point)
            for track in each.ended:
                happenings += self._rules.ended(track)
        return Looked(
            is_moving=self._gate.is_open,
            events=self._events(happenings),
            points=points,
            problem=self._queue.problem if self._queue is not None else None,
        )

    def _point(self, place: Place) -> TrackPoint:
        return TrackPoint(
            video_id=self._session.video_id,
            stream=self._session.stream,
            track=place.track,
            pts=place.at.pts,
            time_s=place.at.time_s,
            captured_at=place.at.captured_at,
            box=place.detection.box,
            label=place.detection.label,
            confidence=place.detection.confidence,
        )

    def _events(self, happenings: Iterable[Happening]) -> list[Event]:
        session = self._session
        return [
            happening.event(
                event_id=self._new_event_id(happening.at.captured_at),
                video_id=session.video_id,
                uri=session.uri,
                stream=session.stream,
            )
            for happening in sorted(happenings, key=lambda happening: happening.at.time_s)
        ]


def _those(happening: Happening | None) -> list[Happening]:
    return [] if happening is None else [happening]
