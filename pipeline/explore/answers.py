"""What a search finds: rows, moments or stretches of videos, and how much of the lake was looked at."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.records.documents import Document

SAME_PICTURE_DISTANCE = 1e-5
"""Up to this cosine distance a row is of the very picture that is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sample that was found."""

    video_id: str
    uri: str
    epoch: int
    pts: int
    time_s: float
    score: float
    """The cosine; of words the probability."""
    captured_s: float | None
    """When it was captured, in seconds since the Unix epoch; ``None``: nobody knows."""
    is_same_picture: bool

    def to_json(self) -> Document:
        """As it stands in an answer."""
        return {
            "uri": self.uri,
            "video_id": self.video_id,
            "epoch": self.epoch,
            "pts": self.pts,
            "time_s": self.time_s,
            "score": self.score,
            "same_picture": self.is_same_picture,
            "captured_at": iso_time(self.captured_s),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Rows of one video that lie together: about as good as the best of them, with no worse one between."""

    start_s: float
    end_s: float
    best: Row

    def to_json(self) -> Document:
        """As it stands in an answer; ``epoch``, ``pts``, ``captured_at`` and ``score`` are those of the best row."""
        best = dict(self.best.to_json())
        times = {"start_s": self.start_s, "end_s": self.end_s, "best_s": best.pop("time_s")}
        return {"uri": best.pop("uri"), "video_id": best.pop("video_id"), **times, **best}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch(Moment):
    """A part of a video in which the video that is looked for occurs, or a part of it; ``score`` is the mean cosine."""

    offset_s: float
    """Where in the query it begins."""
    matched_s: float
    """How long it is."""

    def to_json(self) -> Document:
        """As that of a moment, with the place in the query."""
        # Not by super(): a frozen dataclass with slots is made twice, and the name in the method is the first one.
        return {**Moment.to_json(self), "offset_s": self.offset_s, "matched_s": self.matched_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a search found, the best first."""

    moments: tuple[Moment, ...]
    """Empty where rows were asked for."""
    rows: tuple[Row, ...] | None
    """``None``: moments were asked for."""
    num_indexed: int
    """Rows that were looked up by an index."""
    num_scanned: int
    """Rows that were compared one by one."""
    num_absent: int
    """Samples that quarantine or gaps keep out of the lake, as far as it is known how many."""
    labels: tuple[str, ...] = ()
    """By words: the labels that they were taken for."""

    def to_json(self) -> Document:
        """What ``vidlake search --json`` prints, and ``POST /v1/search`` answers."""
        found: Document = (
            {"moments": [moment.to_json() for moment in self.moments]}
            if self.rows is None
            else {"rows": [row.to_json() for row in self.rows]}
        )
        counts = {"indexed": self.num_indexed, "scanned": self.num_scanned, "absent": self.num_absent}
        return {**found, **counts, **({"labels": list(self.labels)} if self.labels else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The score of every sample of one video, in the order of time: what a timeline draws."""

    epochs: NDArray[np.int32]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    scores: NDArray[np.float32]

    def to_json(self) -> Document:
        """Columns, each with a value a sample."""
        return {
            "epoch": self.epochs.tolist(),
            "pts": self.pts.tolist(),
            "time_s": self.times_s.tolist(),
            "score": self.scores.tolist(),
        }


def iso_time(seconds: float | None) -> str | None:
    """A moment since the Unix epoch in ISO 8601, UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
