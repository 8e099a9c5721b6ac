"""The search engine of one dataset: queries in, answers out. The command line and the server hold the same one."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StorageError, UsageError
from pipeline.explore.absent import Absent
from pipeline.explore.answers import Answer, Curve, Moment, Row
from pipeline.explore.class_layer import ClassLayer, scan_classes
from pipeline.explore.index.building import require_faiss
from pipeline.explore.index.lake_index import Built, Indexed, LakeIndex
from pipeline.explore.index.lookup import Looked
from pipeline.explore.labels import UnitScorer
from pipeline.explore.moments import best_moments, best_rows
from pipeline.explore.queries import MOST_TOP, LabelQuery, Query, Scope, SequenceQuery, VectorQuery
from pipeline.explore.samples import rows_of_video, sample_vector, written_ids
from pipeline.explore.scanning import Cosine, Probability, Scanned, Scored, Scorer, scan
from pipeline.explore.sequences import BestSample, occurrences
from pipeline.explore.showing import Shown
from pipeline.explore.sources import Source, Sources, Unpacked
from pipeline.explore.unit_scan import scan_units
from pipeline.explore.videos import Videos, is_in_scope
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.known_videos import KnownVideos
from pipeline.lake.model_folders import existing_dataset
from pipeline.records.units import VideoSamples

Say = Callable[[str], None]

_EXACT_PER_HIT = 40
"""Rows that are compared exactly for each moment that an index is to find."""
_MOST_ALL = 20_000
"""Rows of an index that are all compared where its lists do not give enough moments."""


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
        self._absent = Absent(dataset)
        self._index = LakeIndex(self._sources.copies, dim=info.config.model.dim)

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
        if isinstance(scorer, Cosine) and scope.is_everywhere and not exact:
            answer = self._looked_up(scorer, sources, top=top, by_rows=by_rows)
            if answer is not None:
                return answer
        scored = self._scored(query, scorer, sources, scope, ids)
        shown = Shown(scored, scorer, self._videos.known(), is_cosine=not isinstance(query, LabelQuery))
        if isinstance(query, SequenceQuery) and isinstance(scorer, BestSample):
            found = occurrences(query, scored, scorer, sources, copies=self._sources.copies)[:top]
            answer = self._answer(tuple(shown.stretch(each) for each in found))
        else:
            answer = self._answer(*_best(scored, scorer, shown, top=top, by_rows=by_rows))
        labels = tuple(query.scorer.labels[at] for at in query.columns) if isinstance(query, LabelQuery) else ()
        num_scanned = sum(int(np.isfinite(each.scores).sum()) for each in scored)
        return replace(answer, num_scanned=num_scanned, labels=labels)

    def _looked_up(self, scorer: Cosine, sources: list[Source], *, top: int, by_rows: bool) -> Answer | None:
        """By the index; ``None``: there is none, or it knows too few rows for so many moments."""
        unpacked = {each.file.key: each.rows for each in sources if isinstance(each, Unpacked) and each.file}
        indexed = self._index.indexed(unpacked)
        if indexed is None:
            return None
        count = max(indexed.num_exact, _EXACT_PER_HIT * top)
        answer = self._by_index(
            indexed, scorer, sources, num_probes=indexed.num_probes, count=count, top=top, by_rows=by_rows
        )
        if len(answer.moments if answer.rows is None else answer.rows) >= top:
            return answer
        if indexed.num_rows > _MOST_ALL:
            return None
        num_lists, num_rows = indexed.lookup.num_lists, indexed.num_rows
        return self._by_index(indexed, scorer, sources, num_probes=num_lists, count=num_rows, top=top, by_rows=by_rows)

    def _by_index(
        self,
        indexed: Indexed,
        scorer: Cosine,
        sources: list[Source],
        *,
        num_probes: int,
        count: int,
        top: int,
        by_rows: bool,
    ) -> Answer:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="look up") as pool:
            looked = indexed.lookup.find(scorer, num_probes=num_probes, count=count, pool=pool)
        left = [each for each in sources if each.file is None or each.file.key not in indexed.keys]
        scanned = self._scanned(scorer, left, Scope(), None)
        known = self._videos.known()
        scored: list[Scored] = [*(_current(each, known) for each in looked), *scanned]
        shown = Shown(scored, scorer, known, is_cosine=True)
        moments, rows = _best(scored, scorer, shown, top=top, by_rows=by_rows)
        num_scanned = sum(int(np.isfinite(each.scores).sum()) for each in scanned)
        answer = self._answer(moments, rows)
        return replace(answer, num_indexed=indexed.num_rows, num_scanned=num_scanned)

    def _scored(
        self, query: Query, scorer: Scorer, sources: list[Source], scope: Scope, ids: NDArray[np.bytes_] | None
    ) -> list[Scanned]:
        if isinstance(query, LabelQuery) and isinstance(query.scorer, UnitScorer):
            scanned = scan_units(sources, query.scorer, query.columns, known=self._videos.known())
            return [self._in_scope(each, scope, ids) for each in scanned]
        if isinstance(query, LabelQuery) and isinstance(query.scorer, ClassLayer):
            classes = scan_classes(sources, query.scorer, query.columns, copies=self._sources.copies)
            return [self._in_scope(each, scope, ids) for each in classes]
        return self._scanned(scorer, sources, scope, ids)

    def _scanned(
        self, scorer: Scorer, sources: list[Source], scope: Scope, ids: NDArray[np.bytes_] | None
    ) -> list[Scanned]:
        return [self._in_scope(each, scope, ids) for each in scan(sources, scorer, copies=self._sources.copies)]

    def _answer(self, moments: tuple[Moment, ...], rows: tuple[Row, ...] | None = None) -> Answer:
        num_absent = self._absent.count()
        return Answer(moments=moments, rows=rows, num_indexed=0, num_scanned=0, num_absent=num_absent)

    def build_index(self, say: Say = lambda _: None) -> Built:
        """Index what is not indexed yet, once all of it is unpacked.

        Raises:
            UsageError: faiss is not installed.
            ForeignFile: a file is damaged.
            StorageError: there is no room for it, another process is at it, or a store failed.
        """
        require_faiss()
        self.unpack(say)
        sources = self._sources.now()
        files = [(each.file, each.rows) for each in sources if isinstance(each, Unpacked) and each.file is not None]
        if len(files) < len(sources):
            raise StorageError(f"{self.uri}: not all of its features could be unpacked: free some space")
        return self._index.build(files, say=say)

    def curve(self, query: Query, video_id: str) -> Curve:
        """The score of each sample of one video.

        Raises:
            UsageError: as ``search``, or there is no such video.
            ForeignFile, StorageError: a file is damaged, or a store failed.
        """
        sources = self._sources.now()
        scorer = self._scorer(query, sources)
        parts = list(rows_of_video(video_id, sources, copies=self._sources.copies))
        if not parts:
            raise UsageError(f"{self.uri} has no sample of a video {video_id[:100]!r}")
        epochs = np.concatenate([np.full(len(part), part.runs["epoch"][0]) for part in parts])
        pts, times_s = np.concatenate([part.pts for part in parts]), np.concatenate([part.times_s for part in parts])
        order = np.lexsort((pts, epochs))
        if isinstance(query, LabelQuery) and isinstance(query.scorer, UnitScorer):
            [end_s] = self._videos.known().ends_of(parts[0].runs["video_id"][:1]).tolist()
            features = np.concatenate([part.floats(0, len(part)) for part in parts])[order]
            samples = VideoSamples(
                epochs=epochs[order],
                pts=pts[order],
                times_s=times_s[order],
                end_s=None if np.isnan(end_s) else end_s,
            )
            scores = query.scorer.of_video(features, samples)[:, list(query.columns)].sum(axis=1)
        else:
            scores = np.concatenate([scorer.scores(part.vectors, part.scales) for part in parts])[order]
        return Curve(epochs=epochs[order], pts=pts[order], times_s=times_s[order], scores=scores)

    def _scorer(self, query: Query, sources: list[Source]) -> Scorer:
        if isinstance(query, LabelQuery):
            return Probability(query.scorer, query.columns)
        if isinstance(query, SequenceQuery):
            return BestSample(query)
        if isinstance(query, VectorQuery):
            vector = query.vector
        else:
            ids = written_ids(query.uri, sources) or self._videos.ids_at(query.uri)
            vector = sample_vector(ids, query, sources, copies=self._sources.copies)
        dim = self.info.config.model.dim
        if vector.shape != (dim,):
            raise UsageError(f"a feature of {self.uri} has {dim} values, not {vector.shape}")
        return Cosine(vector)

    def _in_scope(self, each: Scanned, scope: Scope, ids: NDArray[np.bytes_] | None) -> Scanned:
        """The same, with minus infinity for what is not looked for."""
        each.scores[~is_in_scope(each.rows, scope, ids, self._videos.known())] = -np.inf
        return each


def _best(
    scored: Sequence[Scored], scorer: Scorer, shown: Shown, *, top: int, by_rows: bool
) -> tuple[tuple[Moment, ...], tuple[Row, ...] | None]:
    if by_rows:
        return (), tuple(shown.row(source, row) for source, row in best_rows(scored, top))
    return tuple(shown.moment(span) for span in best_moments(scored, scorer, top)), None


def _current(looked: Looked, known: KnownVideos) -> Looked:
    """Without the rows of videos that were replaced or have left the input."""
    runs = looked.rows.runs[looked.rows.runs_of(looked.at)]
    is_current = known.are_current(runs["video_id"])
    return replace(looked, at=looked.at[is_current], scores=looked.scores[is_current])
