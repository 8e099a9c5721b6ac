"""Replay proof: each live row beside the row that the batch road makes of the recording."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import IntEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.cameras.recordings.files import Recording
from pipeline.cameras.recordings.of_sessions import StreamRecordings, streams_of, time_range_s
from pipeline.cameras.recordings.replay import Over, Replayed, Wanted, covered, embedder_of, replay
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live import readers
from pipeline.lake.live.batches import StoredSession
from pipeline.media.sampling.recorded import PtsRule
from pipeline.records.documents import Document
from pipeline.records.model_info import Precision
from pipeline.records.streams import Session
from pipeline.storage.reader import Gone

TOLERANCE = 1e-5
"""Of a difference in ``fp32``, divided by max(1, max|f|)."""

_LEAST_COSINE: dict[Precision, float] = {"fp16": 0.999, "bf16": 0.98}
_HALF_STEP = 2.0**-10
"""By so much, relatively, neighbours among the numbers of 16 bits differ."""
_MOST_FAULTS = 10
_COLUMNS = ("pts", "time_s", "captured_at", "feature")


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What a proof came to, in rows."""

    num_rows: int = 0
    num_equal: int = 0
    num_different: int = 0
    """Beyond what the precision allows."""
    num_absent: int = 0
    """A recording covers their time and has no frame of their pts, or does not decode there."""
    num_expired: int = 0
    """Older than ``--keep`` of their stream."""
    num_unrecorded: int = 0
    """No closed recording covers them."""
    worst: float = 0.0
    """The largest difference, divided by max(1, max|f|)."""
    faults: list[str] = field(default_factory=list)
    """The first rows that differ or are absent, in words."""

    @property
    def holds(self) -> bool:
        """Whether no row differs or is absent, and at least one was compared."""
        return self.num_equal > 0 and not self.num_different and not self.num_absent

    def count_unread(self, stored: StoredSession, *, expired_before: datetime | None) -> bool:
        """Count the rows of a session without recordings; False: some of them may have expired, others not."""
        if expired_before is not None and stored.captured_from < expired_before:
            if stored.captured_to > expired_before:
                return False
            self.num_expired += stored.num_samples
        else:
            self.num_unrecorded += stored.num_samples
        self.num_rows += stored.num_samples
        return True

    def to_json(self) -> Document:
        """What ``--json`` prints."""
        values = {each.name.removeprefix("num_"): getattr(self, each.name) for each in fields(self)}
        return {"holds": self.holds, **values}


class _State(IntEnum):
    OPEN = 0
    EQUAL = 1
    DIFFERENT = 2
    ABSENT = 3


def verify(uri: str, info: DatasetInfo, *, stream: str | None) -> Verdict:
    """Hold the live rows of a lake, those that were filled among them, against its recordings.

    Args:
        uri: of the lake.
        info: what the lake says of itself, trusted.
        stream: only this one's; ``None``: all.

    Raises:
        UsageError: there is no such stream, or the model is another one.
        StorageError: a store failed.
    """
    verdict = Verdict()
    owners: dict[int, _Rows] = {}
    for part in replay(_wanted(uri, info, verdict, owners, stream=stream), embedder_of(info)):
        rows = owners[id(part.wanted)]
        if isinstance(part, Replayed):
            rows.take(part)
        elif rows.end(part):
            rows.count_in(verdict)
    return verdict


def _wanted(
    uri: str, info: DatasetInfo, verdict: Verdict, owners: dict[int, "_Rows"], *, stream: str | None
) -> Iterator[Wanted]:
    """What to decode; ``owners`` says for which rows, and rows that no recording may hold are counted at once."""
    now = datetime.now(UTC)
    for name in streams_of(uri, stream):
        recordings = StreamRecordings.of(uri, name)
        for stored in readers.sessions(uri, name):
            of_session = recordings.of_session(stored.session)
            if not of_session and verdict.count_unread(stored, expired_before=recordings.expired_before(now)):
                continue
            for table in readers.rows(uri, video_id=stored.session.video_id, columns=_COLUMNS):
                rows = _Rows(stored.session, table, info, expired_before=recordings.expired_before(now))
                wanted = list(rows.wanted(of_session))
                owners |= {id(each): rows for each in wanted}
                yield from wanted
                if not wanted:
                    rows.count_in(verdict)


class _Rows:
    """Some rows of one session, and what the recordings say of each."""

    def __init__(
        self, session: Session, table: pa.Table, info: DatasetInfo, *, expired_before: datetime | None
    ) -> None:
        self._session = session
        self._info = info
        self._expired_before = expired_before
        self._pts = table["pts"].to_numpy()
        self._time_s = table["time_s"].to_numpy()
        self._captured_at = table["captured_at"].to_pylist()
        values = table["feature"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self._features = values.reshape(len(table), -1).astype(np.float32)
        self._places = {int(pts): at for at, pts in enumerate(self._pts)}
        self._states = np.full(len(table), _State.OPEN, np.int8)
        self._differences = np.zeros(len(table))
        self._num_left = 0

    def wanted(self, recordings: Sequence[Recording]) -> Iterator[Wanted]:
        """What to decode of the recordings of the session."""
        for recording in recordings:
            start_s, end_s = time_range_s(recording, self._session)
            inside = (start_s <= self._time_s) & (self._time_s <= end_s)
            if inside.any():
                self._num_left += 1
                pts = tuple(sorted(self._pts[inside].tolist()))
                yield Wanted(recording=recording, rule=PtsRule(self._session.time_base, pts))

    def take(self, part: Replayed) -> None:
        """Compare what came."""
        for mark, feature in zip(part.marks, part.features, strict=True):
            pts = mark.pts * part.facts.time_base / self._session.time_base
            at = self._places.get(int(pts))
            if at is not None and pts.denominator == 1:
                self._differences[at] = difference_of(self._features[at], feature)
                is_equal = is_same(self._features[at], feature, info=self._info)
                self._states[at] = _State.EQUAL if is_equal else _State.DIFFERENT

    def end(self, over: Over) -> bool:
        """A recording is over: rows in its time that it has no frame of are absent; whether it was the last one."""
        self._num_left -= 1
        if not isinstance(over.error, Gone):
            self._states[(self._states == _State.OPEN) & self._covered_by(over)] = _State.ABSENT
        return self._num_left == 0

    def count_in(self, verdict: Verdict) -> None:
        """Add what was found."""
        verdict.num_rows += len(self._pts)
        verdict.num_equal += int((self._states == _State.EQUAL).sum())
        verdict.num_different += int((self._states == _State.DIFFERENT).sum())
        verdict.num_absent += int((self._states == _State.ABSENT).sum())
        verdict.worst = max([verdict.worst, *self._differences.tolist()])
        for at in np.flatnonzero(self._states == _State.OPEN):
            is_expired = self._expired_before is not None and self._captured_at[at] < self._expired_before
            verdict.num_expired += is_expired
            verdict.num_unrecorded += not is_expired
        for at in np.flatnonzero(self._states >= _State.DIFFERENT)[: _MOST_FAULTS - len(verdict.faults)]:
            is_absent = self._states[at] == _State.ABSENT
            what = "its recording has no such frame" if is_absent else f"differs by {self._differences[at]:.1e}"
            session = self._session
            verdict.faults.append(f"{session.stream}, session {session.video_id}, pts {self._pts[at]}: {what}")

    def _covered_by(self, over: Over) -> NDArray[np.bool_]:
        """The rows in the time of a recording: by its frames, or where it cannot be read, by its name."""
        if over.facts is None:
            start, end = time_range_s(over.wanted.recording, self._session)
            times = self._time_s
        else:
            start, end = (float(stamp / self._session.time_base) for stamp in covered(over.facts))
            times = self._pts
        is_covered: NDArray[np.bool_] = (start <= times) & (times < end)
        return is_covered


def difference_of(stored: NDArray[np.float32], replayed: NDArray[np.float32]) -> float:
    """The largest difference of two features, divided by max(1, max|f|); infinite where one is no number."""
    difference = np.abs(stored - replayed).max() / max(1.0, np.abs(replayed).max())
    return float(difference) if np.isfinite(difference) else np.inf


def is_same(stored: NDArray[np.float32], replayed: NDArray[np.float32], *, info: DatasetInfo) -> bool:
    """Whether two features of one picture differ by no more than the precision of the lake allows."""
    config = info.config
    if config.precision in _LEAST_COSINE:
        norms = float(np.linalg.norm(stored) * np.linalg.norm(replayed))
        cosine = float(stored @ replayed) / norms if norms else float(np.array_equal(stored, replayed))
        return cosine >= _LEAST_COSINE[config.precision]
    tolerance = TOLERANCE if config.dtype == "float32" else _HALF_STEP
    return difference_of(stored, replayed) <= tolerance
