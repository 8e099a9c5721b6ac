"""Drop now, fill later: the slots that were dropped and are recorded become rows."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.recordings.files import Recording
from pipeline.cameras.recordings.of_sessions import StreamRecordings, streams_of, time_range_s
from pipeline.cameras.recordings.replay import Over, Replayed, Wanted, covered, embedder_of, replay
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live import readers
from pipeline.lake.live.batches import StoredGap
from pipeline.lake.live.fill import LiveFill
from pipeline.lake.live.gap_slots import slots_of
from pipeline.lake.live.suitable import rate_of
from pipeline.media.sampling.recorded import SlotsRule
from pipeline.records.documents import Document
from pipeline.records.segments import FrameMark
from pipeline.records.streams import GapReason, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What a fill came to, in slots."""

    num_missing: int
    """What there was to fill when it began."""
    num_filled: int
    num_unrecorded: int
    """No closed recording has them (any more)."""
    num_failed: int
    """Their recording cannot be read there."""

    def to_json(self) -> Document:
        """What ``--json`` prints."""
        return {name.removeprefix("num_"): getattr(self, name) for name in self.__slots__}


def fill(uri: str, info: DatasetInfo, *, stream: str | None, is_gated: bool) -> Filling:
    """Decode exactly the dropped slots of the recordings by the batch road, and commit them under the lease ``fill``.

    Streams may go on meanwhile. A fill that is killed is taken up by the next one; a second one changes nothing.

    Args:
        uri: of the lake.
        info: what the lake says of itself, trusted.
        stream: only this one's; ``None``: all.
        is_gated: also what the motion gate held back.

    Raises:
        UsageError: there is no such stream, or another fill is at work.
        StorageError: a store failed.
    """
    with LiveFill(uri) as lease:
        sessions = list(_sessions(uri, info, stream=stream, is_gated=is_gated))
        wanted = [each for session in sessions for each in session.wanted()]
        if wanted:
            by_id = {session.session.video_id: session for session in sessions}
            for part in replay(wanted, embedder_of(info)):
                session = by_id[part.wanted.recording.name.session]
                if isinstance(part, Over):
                    session.end(part)
                else:
                    session.take(part, lease)
    return Filling(
        num_missing=sum(len(session.missing) + len(session.filled) for session in sessions),
        num_filled=sum(len(session.filled) for session in sessions),
        num_unrecorded=sum(len(session.missing - session.failed) for session in sessions),
        num_failed=sum(len(session.missing & session.failed) for session in sessions),
    )


def _sessions(uri: str, info: DatasetInfo, *, stream: str | None, is_gated: bool) -> Iterator["_Missing"]:
    """The sessions that lack slots which a recording may hold."""
    reasons = {GapReason.DROPPED, GapReason.GATED} if is_gated else {GapReason.DROPPED}
    rate_hz = rate_of(info)
    for name in streams_of(uri, stream):
        gaps: dict[str, list[StoredGap]] = {}
        for each in readers.gaps(uri, name):
            if each.gap.video_id is not None and each.gap.reason in reasons and not each.is_filled:
                gaps.setdefault(each.gap.video_id, []).append(each)
        if not gaps:
            continue
        recordings = StreamRecordings.of(uri, name)
        for session in (stored.session for stored in readers.sessions(uri, name)):
            if session.video_id not in gaps:
                continue
            yield _Missing(
                session=session,
                rule=SlotsRule.of((), rate_hz=rate_hz, time_base=session.time_base, start_pts=session.start_pts),
                recordings=recordings.of_session(session),
                gap_of={slot: each for each in gaps[session.video_id] for slot in slots_of(each.gap, rate_hz=rate_hz)},
            )


class _Missing:
    """What is missing of one session, and what becomes of it; sets are of slots."""

    def __init__(
        self,
        *,
        session: Session,
        rule: SlotsRule,
        recordings: Sequence[Recording],
        gap_of: Mapping[int, StoredGap],
    ) -> None:
        self.session = session
        self._rule = rule
        self._recordings = recordings
        self._gap_of = gap_of
        self._asked: dict[Recording, Sequence[int]] = {}
        self._parts = {recording.name.part for recording in recordings}
        self.missing = set(gap_of)
        self.filled: set[int] = set()
        self.failed: set[int] = set()

    def wanted(self) -> Iterator[Wanted]:
        """What to decode, recording by recording."""
        slots = sorted(self.missing)
        for recording in self._recordings:
            start_s, end_s = time_range_s(recording, self.session)
            low, high = (bisect_left(slots, time_s * self._rule.rate_hz) for time_s in (start_s, end_s))
            if low < high:
                self._asked[recording] = slots[low:high]
                yield Wanted(recording=recording, rule=self._rule.for_slots(slots[low:high]))

    def take(self, part: Replayed, lease: LiveFill) -> None:
        """Commit what is missing of what came."""
        rows: dict[int, tuple[FrameMark, NDArray[np.float32]]] = {}
        for mark, feature in zip(part.marks, part.features, strict=True):
            stamp = mark.pts * part.facts.time_base
            slot, pts = self._rule.slot_of(stamp), stamp / self.session.time_base
            if slot not in self.missing or pts.denominator != 1 or self._may_begin_earlier(slot, part):
                continue
            time_s = float(stamp - self.session.start_pts * self.session.time_base)
            rows[slot] = replace(mark, epoch=0, pts=int(pts), time_s=time_s), feature
            self.missing.remove(slot)
            self.filled.add(slot)
        for reason in {self._gap_of[slot].gap.reason for slot in rows}:
            slots = [slot for slot in rows if self._gap_of[slot].gap.reason == reason]
            gaps = [gap for gap, _ in groupby(self._gap_of[slot] for slot in slots)]
            marks, features = zip(*(rows[slot] for slot in slots), strict=True)
            lease.commit(gaps, marks, np.stack(features))

    def end(self, over: Over) -> None:
        """A recording is over: what it covers and did not give has failed."""
        recording = over.wanted.recording
        asked = self.missing.intersection(self._asked[recording])
        if over.error is not None or over.facts is None:
            self._parts.discard(recording.name.part)
            self.failed |= asked
        else:
            first, last = map(self._rule.slot_of, covered(over.facts))
            self.failed |= {slot for slot in asked if first < slot < last}

    def _may_begin_earlier(self, slot: int, part: Replayed) -> bool:
        """Whether the slot's first frame may lie in the recording before this one, which cannot be read."""
        number = part.wanted.recording.name.part
        if number == 0 or number - 1 in self._parts:
            return False
        start, _ = covered(part.facts)
        return self._rule.slot_of(start - self.session.time_base) >= slot
