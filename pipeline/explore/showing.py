"""Rows, moments and stretches as an answer has them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.explore.answers import SAME_PICTURE_DISTANCE, Moment, Row, Stretch
from pipeline.explore.moments import Span
from pipeline.explore.scanning import Cosine, Scored, Scorer
from pipeline.explore.sequences import Occurrence
from pipeline.lake.known_videos import KnownVideos


class Shown:
    """Shows what was found among the rows of some sources."""

    def __init__(self, scored: Sequence[Scored], scorer: Scorer, known: KnownVideos, *, is_cosine: bool) -> None:
        self._scored = scored
        self._scorer = scorer
        self._known = known
        self._is_cosine = is_cosine

    def row(self, source: int, at: int) -> Row:
        """A row by its source and its number there."""
        rows = self._scored[source].rows
        run = rows.runs[rows.runs_of(np.array([at]))[0]]
        score = self._score(source, at)
        captured_s = float(rows.captured_s[at])
        if np.isnan(captured_s):
            captured_s = float(self._known.recorded_of(np.array([run["video_id"]]))[0] + rows.times_s[at])
        return Row(
            video_id=run["video_id"].decode(),
            uri=rows.uris[int(run["uri"])],
            epoch=int(run["epoch"]),
            pts=int(rows.pts[at]),
            time_s=float(rows.times_s[at]),
            score=score,
            captured_s=None if np.isnan(captured_s) else captured_s,
            is_same_picture=self._is_cosine and 1 - score <= SAME_PICTURE_DISTANCE,
        )

    def moment(self, span: Span) -> Moment:
        """Rows that lie together."""
        video = span.video
        return Moment(
            start_s=float(video.times_s[span.begin]),
            end_s=float(video.ends_s[span.last]),
            best=self.row(int(video.sources[span.best]), int(video.rows[span.best])),
        )

    def stretch(self, found: Occurrence) -> Stretch:
        """A part of a video in which the query occurs."""
        video, aligned = found.video, found.aligned
        best = self.row(int(video.sources[aligned.best]), int(video.rows[aligned.best]))
        start_s, end_s = (aligned.shift_s + at for at in (aligned.begin_s, aligned.end_s))
        return Stretch(
            start_s=min(start_s, best.time_s),
            end_s=max(end_s, best.time_s),
            best=replace(best, score=aligned.score),
            offset_s=aligned.begin_s,
            matched_s=aligned.end_s - aligned.begin_s,
        )

    def _score(self, source: int, at: int) -> float:
        """A cosine as exact as the stored numbers, where they are at hand."""
        each = self._scored[source]
        vector = each.rows.vectors[at].astype(np.float64) if self._is_cosine else np.empty(0)
        length = float(np.linalg.norm(vector))
        if not (isinstance(self._scorer, Cosine) and 0 < length < np.inf):
            return float(each.known(np.array([at]))[0])
        return float(np.clip(vector @ self._scorer.unit / length, -1, 1))
