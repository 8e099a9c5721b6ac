"""One session while it lasts: each of its frames is looked at, and each of its samples goes to the model or is told."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.analysis.analysis import Analysis, Looked, Picture
from pipeline.cameras.hosting.slot_ledger import SlotLedger
from pipeline.cameras.hosting.wall_clock import SlotClock
from pipeline.cameras.pulling.pulled import Frame, Opened
from pipeline.cameras.rules.happenings import Moment
from pipeline.lake.live.batches import LiveBatch
from pipeline.records.events import Event, TrackPoint
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, GapReason, Session, StreamSpec

_ID_DIGITS = 20


class LiveHead(Protocol):
    """A head that answers for the newest sample of a session."""

    def answer(self, feature: NDArray[np.float32], time_s: float) -> tuple[str, float] | None:
        """Label and probability after this sample; ``None``: the head wants more samples first."""
        ...

    def look(self) -> None:
        """Take up another version if one is in use by now; this may take a while."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A frame on its way through the model."""

    run: "SessionRun"
    slot: int
    mark: FrameMark
    moment: Moment
    arrived_at: float


class SessionRun:
    """A session from its first frame on: its ledger, its clock, and what the analysis tells of it."""

    def __init__(
        self,
        session: Session,
        *,
        spec: StreamSpec,
        clock: SlotClock,
        analysis: Analysis,
        head: LiveHead | None,
        on_event: Callable[[Event], None],
    ) -> None:
        """Begin.

        Args:
            session: which.
            spec: how the stream is watched.
            clock: of its slots.
            analysis: of this session alone.
            head: whose labels are told; ``None``: no head's.
            on_event: takes each event as soon as it is known.
        """
        self.session = session
        self.ledger = SlotLedger(session, rate_hz=spec.rate_hz)
        self.clock = clock
        self.is_over = False
        """No frame comes any more, and nothing but the model's answers is waited for."""
        self.analysis_ended = asyncio.Event()
        """Set when all that ends with the session is told."""
        self.problem: str | None = None
        """Why the detector gave no answer lately."""
        self._analysis = analysis
        self._head = head
        self._on_event = on_event
        self._events: list[Event] = []
        self._points: list[TrackPoint] = []
        self.newest_points: Sequence[TrackPoint] = ()
        """Where objects were in the newest picture in which any were looked for."""

    @property
    def is_settled(self) -> bool:
        """Whether all of its slots are told once what the ledger holds is taken."""
        return self.is_over and self.ledger.num_pending == 0

    def look(self, frame: Frame) -> Sample | GapReason | None:
        """Look at the next frame.

        Returns:
            A sample that the model is to see, why a sample gets no row, or ``None`` where the frame is no sample.
        """
        time_s = float(frame.time_s)
        self.clock.see(time_s=time_s, arrived_at_s=frame.arrived_at)
        moment = Moment(pts=frame.pts, time_s=time_s, captured_at=self.clock.at(frame.time_s))
        slot = frame.slot
        is_sample = slot is not None and self.ledger.announce(slot, captured_at=self.clock.captured_at(slot))
        looked = self._analysis.frame(
            Picture(
                moment=moment,
                luma=frame.luma,
                is_corrupt=frame.is_corrupt,
                full=frame.picture if frame.detect else None,
                detect=frame.detect,
            )
        )
        self.note(looked)
        if slot is None or not is_sample:
            return None
        if not looked.is_moving or frame.picture is None:
            reason = GapReason.DROPPED if looked.is_moving else GapReason.GATED
            self.ledger.missed([slot], reason)
            return reason
        mark = FrameMark(
            epoch=0, pts=frame.pts, time_s=time_s, is_keyframe=frame.is_keyframe, is_corrupt=frame.is_corrupt
        )
        return Sample(run=self, slot=slot, mark=mark, moment=moment, arrived_at=frame.arrived_at)

    def embedded(self, sample: Sample, feature: NDArray[np.float32]) -> bool:
        """The model has answered; False: the sample was given up meanwhile."""
        if not self.ledger.embedded(sample.slot, mark=sample.mark, feature=feature):
            return False
        answer = None if self._head is None else self._head.answer(feature, sample.mark.time_s)
        if answer is not None:
            label, confidence = answer
            self._tell(self._analysis.label(sample.moment, label, confidence=confidence))
        return True

    async def end_analysis(self) -> None:
        """No frame comes any more: tell what ends with the session."""
        try:
            self.note(await self._analysis.end())
        finally:
            self.analysis_ended.set()

    def note(self, looked: Looked) -> None:
        """Keep what the analysis tells, for the next commit and for whoever listens."""
        self._points += looked.points
        if looked.points:
            last = max(point.pts for point in looked.points)
            self.newest_points = tuple(point for point in looked.points if point.pts == last)
        self.problem = looked.problem
        self._tell(looked.events)

    def take(self) -> LiveBatch:
        """What is known since the last call: to be committed together."""
        settled = self.ledger.take()
        rows = sorted(settled.rows, key=lambda row: row.mark.pts)
        batch = LiveBatch(
            marks=tuple(row.mark for row in rows),
            captured_at=tuple(row.captured_at for row in rows),
            features=np.stack([row.feature for row in rows]) if rows else None,
            gaps=settled.gaps,
            events=tuple(self._events),
            tracks=tuple(self._points),
        )
        self._events, self._points = [], []
        return batch

    def _tell(self, events: Sequence[Event]) -> None:
        self._events += events
        for event in events:
            self._on_event(event)


def session_of(opened: Opened, *, spec: StreamSpec, started_at: datetime) -> Session:
    """The session that a connection begins with its first frame."""
    name = f"{spec.name}\n{started_at.isoformat()}"
    return Session(
        video_id=hashlib.sha256(name.encode()).hexdigest()[:_ID_DIGITS],
        uri=spec.source,
        stream=spec.name,
        started_at=started_at,
        time_base=opened.time_base,
        start_pts=opened.start_pts,
        container=opened.container,
        codec=opened.codec,
        width=opened.width,
        height=opened.height,
        rotation=opened.rotation,
        pix_fmt=opened.pix_fmt,
    )


def num_missing(gaps: Sequence[Gap], reason: GapReason | None = None) -> int:
    """How many slots some gaps have, for one reason or all."""
    return sum(gap.num_slots for gap in gaps if reason in (None, gap.reason))


def detect_rate_of(spec: StreamSpec) -> Fraction | None:
    """How many pictures a second are looked at for objects; ``None``: none are."""
    return None if spec.detect == "off" else spec.detect_rate_hz or spec.rate_hz
