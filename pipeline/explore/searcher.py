"""The search engine of one dataset: queries in, answers out. The command line and the server hold the same one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.explore.absent import num_absent
from pipeline.explore.answers import SAME_PICTURE_DISTANCE, Answer, Curve, Moment, Row, Stretch
from pipeline.explore.moments import Span, best_moments, best_rows
from pipeline.explore.queries import MOST_TOP, LabelQuery, Query, Scope, SequenceQuery, VectorQuery
from pipeline.explore.samples import sample_vector
from pipeline.explore.scanning import Cosine, Probability, Scanned, Scored, Scorer, scan
from pipeline.explore.sequences import Likest, Occurrence, occurrences
from pipeline.explore.sources import Source, Sources
from pipeline.explore.video_rows import VideoRows
from pipeline.explore.videos import Videos
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.ids import find_places
from pipeline.lake.model_folders import existing_dataset

Say = Callable[[str], None]


class Searcher:
    """Looks through the features of one dataset, those that come meanwhile included. Safe to use from many threads.

    Attributes:
        uri: of the dataset.
        info: how it was made.
    """

    def __init__(self, dataset: Dataset, info: DatasetInfo, *, has_cache: bool = True) -> None:
        """See ``at``."""
        self.uri = dataset.store.uri
        self.info = info
        self._dataset = dataset
        self._sources = Sources(dataset, info, has_cache=has_cache)
        self._videos = Videos(dataset)

    @classmethod
    def at(cls, uri: str, *, has_cache: bool = True) -> Self:
        """The engine for the dataset at ``uri``; nothing of its rows is read yet.

        Args:
            uri: of the dataset.
            has_cache: False: never keep or use an unpacked copy; Parquet is read for each query.

        Raises:
            UsageError: there is no dataset, or a folder of several, which are named; or it holds no features.
            StorageError: the store failed.
        """
        dataset = existing_dataset(uri, command="search")
        info = dataset.existing()
        if info.config.content != "features":
            raise UsageError(f"{uri} holds the inputs of a model and no features: there is nothing to search by")
        return cls(dataset, info, has_cache=has_cache)

    def unpack(self, say: Say = lambda _: None) -> None:
        """Make the memory-mapped copy of each features file that has none yet; ``say`` is told its size first.

        Without it, searches read those files as Parquet.

        Raises:
            ForeignFile, StorageError: a file is damaged, or the store failed.
        """
        self._sources.unpack(say)

    def check(self, scope: Scope) -> None:
        """Make sure that a scope's conditions are some, before a model is loaded or a copy is made.

        Raises:
            UsageError: they are not.
        """
        self._videos.ids_in(scope)

    def search(
        self, query: Query, *, scope: Scope | None = None, top: int = 10, by_rows: bool = False, exact: bool = False
    ) -> Answer:
        """The best ``top`` moments (of a ``SequenceQuery`` stretches), or rows.

        Args:
            query: what to look for.
            scope: where; everywhere without it.
            top: how many, at most ``queries.MOST_TOP``.
            by_rows: rows instead of moments.
            exact: compare with every row even where there is an index.

        Raises:
            UsageError: the query does not fit: a condition that is none, no such video, another length of the vector.
            ForeignFile, StorageError: a file is damaged, or a store failed.
        """
        if not 1 <= top <= MOST_TOP:
            raise UsageError(f"between 1 and {MOST_TOP} can be asked for, not {top}")
        scope = scope or Scope()
        ids = self._videos.ids_in(scope)
        sources = self._sources.now()
        scorer = self._scorer(query, sources)
        scored = [self._in_scope(each, scope, ids) for each in scan(sources, scorer, copies=self._sources.copies)]
        num_scanned = sum(int(np.isfinite(each.scores).sum()) for each in scored)
        shown = _Shown(scored, scorer, self._videos, is_cosine=not isinstance(query, LabelQuery))
        moments: Sequence[Moment] = ()
        rows: tuple[Row, ...] | None = None
        if isinstance(query, SequenceQuery):
            assert isinstance(scorer, Likest)
            found = occurrences(query, scored, scorer, sources, copies=self._sources.copies)[:top]
            moments = [shown.stretch(each) for each in found]
        elif by_rows:
            rows = tuple(shown.row(source, row) for source, row in best_rows(scored, top))
        else:
            moments = [shown.moment(span) for span in best_moments(scored, scorer, top)]
        labels = tuple(query.scorer.labels[at] for at in query.columns) if isinstance(query, LabelQuery) else ()
        return Answer(
            moments=tuple(moments),
            rows=rows,
            num_indexed=0,
            num_scanned=num_scanned,
            num_absent=num_absent(self._dataset),
            labels=labels,
        )

    def curve(self, query: Query, video_id: str) -> Curve:
        """The score of each sample of one video.

        Raises:
            UsageError: as ``search``, or there is no such video.
        """
        raise NotImplementedError

    def _scorer(self, query: Query, sources: list[Source]) -> Scorer:
        if isinstance(query, LabelQuery):
            return Probability(query.scorer, query.columns)
        if isinstance(query, SequenceQuery):
            return Likest(query)
        if isinstance(query, VectorQuery):
            vector = query.vector
        else:
            ids = self._videos.ids_at(query.uri)
            vector = sample_vector(ids, query, sources, copies=self._sources.copies)
        dim = self.info.config.model.dim
        if vector.shape != (dim,):
            raise UsageError(f"a feature of {self.uri} has {dim} values, not {vector.shape}")
        return Cosine(vector)

    def _in_scope(self, each: Scanned, scope: Scope, ids: NDArray[np.bytes_] | None) -> Scanned:
        """The same, with minus infinity for what is not looked for."""
        runs, known = each.rows.runs, self._videos.known()
        is_in = known.are_current(runs["video_id"])
        if ids is not None:
            is_in &= find_places(ids, runs["video_id"]) >= 0
        if not is_in.all():
            each.scores[~np.repeat(is_in, runs["count"])] = -np.inf
        if not scope.period.is_open:
            each.scores[~scope.period.holds(captured(each, self._videos))] = -np.inf
        return each


def captured(each: Scored, videos: Videos) -> NDArray[np.float64]:
    """When each row was captured, in seconds since the Unix epoch; NaN: not known."""
    rows = each.rows
    recorded_s = np.repeat(videos.known().recorded_of(rows.runs["video_id"]), rows.runs["count"])
    return np.where(np.isnan(rows.captured_s), recorded_s + rows.times_s, rows.captured_s)


class _Shown:
    """Rows and moments as an answer has them."""

    def __init__(self, scored: list[Scanned], scorer: Scorer, videos: Videos, *, is_cosine: bool) -> None:
        self._scored = scored
        self._scorer = scorer
        self._known = videos.known()
        self._is_cosine = is_cosine

    def row(self, source: int, at: int) -> Row:
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
        video: VideoRows = span.video
        return Moment(
            start_s=float(video.times_s[span.begin]),
            end_s=float(video.ends_s[span.last]),
            best=self.row(int(video.sources[span.best]), int(video.rows[span.best])),
        )

    def stretch(self, found: Occurrence) -> Stretch:
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
            return float(each.scores[at])
        return float(np.clip(vector @ self._scorer.unit / length, -1, 1))
