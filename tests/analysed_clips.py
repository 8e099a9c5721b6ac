"""A session's analysis over the frames of a real clip, as the stream's host would call it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction

import numpy as np
from sessions import camera_session
from truth_clips import BEGAN, Frame, boxes, frames

from pipeline.cameras.analysis.analysis import Analysis, Looked, Picture
from pipeline.cameras.analysis.detector import DetectionFailed, Detector, Pixels
from pipeline.cameras.analysis.lighting import Luma
from pipeline.cameras.rules.happenings import Moment
from pipeline.records.events import Event, TrackPoint
from pipeline.records.geometry import Detection, Line, Zone
from pipeline.records.streams import MotionLevel, StreamSpec

ROAD = Line.parse("ROAD:0,0.5,1,0.5")
FLOOR = Zone.parse("FLOOR:0.38,0.8,0.75,0.8,0.75,0.975,0.38,0.975")

SESSION = camera_session("v1", uri="rtsp://gate:554/main", started_at=BEGAN, size=(768, 432))


@dataclass
class Seen:
    """All that an analysis has told."""

    events: list[Event] = field(default_factory=list)
    points: list[TrackPoint] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, looked: Looked) -> None:
        self.events += looked.events
        self.points += looked.points
        if looked.problem is not None:
            self.problems.append(looked.problem)


def spec(
    *,
    detect: str = "motion",
    lines: Sequence[Line] = (),
    zones: Sequence[Zone] = (),
    motion: MotionLevel = MotionLevel.OFF,
    head: str | None = None,
) -> StreamSpec:
    return StreamSpec(
        name="gate",
        source=SESSION.uri,
        rate_hz=Fraction(5),
        motion=motion,
        detect=detect,
        lines=tuple(lines),
        zones=tuple(zones),
        head=head,
    )


class TruthDetector:
    """Knows every box of a clip; pictures carry their pts in place of pixels (``marked``)."""

    def __init__(self, clip: str, *, fails_at: Callable[[int], bool] = lambda pts: False) -> None:
        self._boxes = boxes(clip)
        self._fails_at = fails_at
        self.num_asked = 0

    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        await asyncio.sleep(0)
        self.num_asked += 1
        pts = int(picture.view(np.int64)[0, 0, 0])
        if self._fails_at(pts):
            raise DetectionFailed("too late")
        return [true.detection for true in self._boxes.get(pts, ())]

    async def close(self) -> None:
        pass


def marked(pts: int) -> Pixels:
    return np.full((1, 1, 1), pts, np.int64).view(np.uint8)


def looked_at(
    clip: str,
    what: StreamSpec,
    *,
    detector: Detector | None = None,
    every: int = 1,
    change: Callable[[Frame], Luma] = lambda frame: frame.luma,
    since_s: float = 0.0,
) -> Seen:
    """The clip from a second on, its objects detected in every so many-th picture."""
    shown = [frame for frame in frames(clip) if frame.at.time_s >= since_s]
    return asyncio.run(_looked_at([(frame.at, change(frame)) for frame in shown], what, detector=detector, every=every))


async def _looked_at(
    shown: Sequence[tuple[Moment, Luma]], what: StreamSpec, *, detector: Detector | None, every: int
) -> Seen:
    ids = iter(range(10**6))

    def new_event_id(at: datetime) -> str:
        return f"{next(ids):06}"

    analysis, seen = Analysis(what, session=SESSION, new_event_id=new_event_id, detector=detector), Seen()
    for number, (at, luma) in enumerate(shown):
        detect = number % every == 0
        full = marked(at.pts) if detect and detector is not None else None
        seen.add(analysis.frame(Picture(moment=at, luma=luma, full=full, detect=detect)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    seen.add(await analysis.end())
    return seen
