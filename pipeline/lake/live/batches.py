"""What a stream commits at once, and what the lake tells of its sessions and gaps."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.records.events import Event, TrackPoint
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Gap, Session

SessionStatus = Literal["live", "ok", "partial"]
"""``partial``: a slot inside it is missing for another reason than that nothing moved, and was not filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveBatch:
    """What has come of a stream since its last commit: all of it is committed, or nothing.

    Rows and gaps together tell a whole stretch of slots: who kills the stream after a commit leaves no hole before it.
    """

    marks: tuple[FrameMark, ...] = ()
    """Of the rows, T of them, by pts; ``time_s`` counts from the session's first frame."""
    captured_at: tuple[datetime, ...] = ()
    """The wall clock of each row's slot, with its time zone."""
    features: NDArray[np.float32] | None = None
    """``float32[T, D]``; ``None``: there are no rows."""
    gaps: tuple[Gap, ...] = ()
    events: tuple[Event, ...] = ()
    tracks: tuple[TrackPoint, ...] = ()

    def __post_init__(self) -> None:
        num_features = 0 if self.features is None else len(self.features)
        if not len(self.marks) == len(self.captured_at) == num_features:
            raise ValueError(f"{len(self.marks)} marks, {len(self.captured_at)} times and {num_features} features")

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.marks or self.gaps or self.events or self.tracks)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """A session as the lake knows it now."""

    session: Session
    status: SessionStatus
    captured_from: datetime
    captured_to: datetime
    """The end of its last slot that is stored or in a gap; of one that is over, its end."""
    num_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredGap:
    """A gap as the lake knows it now. One that is filled in part comes as several."""

    gap: Gap
    is_filled: bool
