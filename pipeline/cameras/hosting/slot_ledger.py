"""What became of each slot of a session: a row, or a part of a gap. Every slot is told once, in order."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipeline.media.sampling.pickers import allowance_of
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, GapReason, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A sample that went through the model."""

    mark: FrameMark
    captured_at: datetime
    """The wall clock of its slot."""
    feature: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A stretch of slots of which all is known: rows and gaps that are to be committed together."""

    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]


@dataclass(slots=True, kw_only=True)
class _Stretch:
    """Neighbouring slots that came in or were passed over together; ``outcome`` ``None``: it is not settled yet."""

    first: int
    end: int
    captured_at: datetime
    """The wall clock of the first of them."""
    outcome: Row | GapReason | None


class SlotLedger:
    """The slots of one session, from 0 on.

    Samples are announced as they come in, in the order of their slots, and settled later in any order: the model may be
    at work on one while a later one is dropped. What is taken to be committed reaches up to the first that is not
    settled, so that the rows and gaps of all commits follow each other without a hole. Not for several threads at once.
    """

    def __init__(self, session: Session, *, rate_hz: Fraction) -> None:
        self._session = session
        self._rate_hz = rate_hz
        self._stretches: deque[_Stretch] = deque()
        """Those that are not taken yet."""
        self._announced: dict[int, _Stretch] = {}
        """Those that are not settled, by their slot."""
        self.end = 0
        """The slot behind the last one that was announced or passed over."""
        self.end_at = session.started_at
        """The wall clock at which that slot begins."""

    @property
    def num_pending(self) -> int:
        """How many samples are announced and not settled."""
        return len(self._announced)

    def announce(self, slot: int, *, captured_at: datetime) -> bool:
        """The sample of a slot has come in; slots that were passed over since the last one have no frame.

        Returns:
            False: the slot is not behind the last one, so this is no sample.
        """
        if slot < self.end:
            return False
        self.pass_over(slot, captured_at=captured_at)
        self._announced[slot] = self._add(slot + 1, captured_at=captured_at, outcome=None)
        return True

    def pass_over(self, end: int, *, captured_at: datetime) -> None:
        """No frame comes any more for the slots before ``end``, which begins at ``captured_at``: they are corrupt."""
        if end > self.end:
            began_at = max(self.end_at, captured_at - self._length(end - self.end))
            self._add(end, captured_at=began_at, outcome=GapReason.CORRUPT)

    def embedded(self, slot: int, *, mark: FrameMark, feature: NDArray[np.float32]) -> bool:
        """An announced sample went through the model; False: it was dropped meanwhile."""
        stretch = self._announced.pop(slot, None)
        if stretch is None:
            return False
        stretch.outcome = Row(mark=mark, captured_at=stretch.captured_at, feature=feature)
        return True

    def missed(self, slots: Iterable[int], reason: GapReason) -> int:
        """Announced samples get no row; returns how many of them were not settled yet."""
        stretches = [stretch for slot in slots if (stretch := self._announced.pop(slot, None)) is not None]
        for stretch in stretches:
            stretch.outcome = reason
        return len(stretches)

    def drop_pending(self) -> int:
        """The model's answer is waited for no longer: what is not settled is dropped. Returns how many."""
        return self.missed(tuple(self._announced), GapReason.DROPPED)

    def take(self) -> Settled:
        """What is settled before the first slot that is not: to be committed, and forgotten here."""
        taken: list[_Stretch] = []
        while self._stretches and self._stretches[0].outcome is not None:
            taken.append(self._stretches.popleft())
        rows = tuple(stretch.outcome for stretch in taken if isinstance(stretch.outcome, Row))
        return Settled(rows=rows, gaps=tuple(self._gaps(taken)))

    def _add(self, end: int, *, captured_at: datetime, outcome: GapReason | None) -> _Stretch:
        stretch = _Stretch(first=self.end, end=end, captured_at=captured_at, outcome=outcome)
        self._stretches.append(stretch)
        self.end, self.end_at = end, captured_at + self._length(end - stretch.first)
        return stretch

    def _gaps(self, stretches: list[_Stretch]) -> Iterator[Gap]:
        """Neighbours that lack a row for the same reason are one gap."""
        for reason, group in groupby(stretches, key=_reason_of):
            if reason is not None:
                several = list(group)
                yield self._gap(several[0], several[-1], reason)

    def _gap(self, first: _Stretch, last: _Stretch, reason: GapReason) -> Gap:
        return Gap(
            video_id=self._session.video_id,
            uri=self._session.uri,
            stream=self._session.stream,
            reason=reason,
            num_slots=last.end - first.first,
            start_pts=self.first_pts(first.first),
            end_pts=self.first_pts(last.end),
            start_s=float(first.first / self._rate_hz),
            end_s=float(last.end / self._rate_hz),
            captured_from=first.captured_at,
            captured_to=last.captured_at + self._length(last.end - last.first),
        )

    def first_pts(self, slot: int) -> int:
        """The least pts that a frame of the slot can have: frames count as a little later than their pts says."""
        time_base = self._session.time_base
        time_s = slot / self._rate_hz - allowance_of(time_base)
        return self._session.start_pts + (math.ceil(time_s / time_base) if slot else 0)

    def _length(self, num_slots: int) -> timedelta:
        return slots_length(num_slots, rate_hz=self._rate_hz)


def slots_length(num_slots: int, *, rate_hz: Fraction) -> timedelta:
    """How long so many slots last, to the microsecond."""
    return timedelta(microseconds=round(num_slots * 1_000_000 / rate_hz))


def _reason_of(stretch: _Stretch) -> GapReason | None:
    return stretch.outcome if isinstance(stretch.outcome, GapReason) else None
