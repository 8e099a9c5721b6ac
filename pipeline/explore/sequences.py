"""Where a video occurs in a lake: every row is compared with its samples, then the most similar videos are aligned."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.explore.alignment import Aligned, QueryTimes, Similarities, stretches
from pipeline.explore.queries import SequenceQuery
from pipeline.explore.scanning import Scanned
from pipeline.explore.sources import Source, Unpacked
from pipeline.explore.video_rows import VideoRows
from pipeline.lake.unpacked.copies import Copies
from pipeline.lake.unpacked.feature_rows import Vectors
from pipeline.lake.unpacked.parquet_parts import FileParts

_MOST_SAMPLES = 256
"""Of a query that rows are compared with first; of a longer one about as many as the lake has for it."""
_DENSER = 4
_SAMPLED = (16, 32)
"""Similarities of each piece that tell what is usual in the lake."""
_ALIGNED_VIDEOS = 100
"""Those whose rows are the most similar to the query."""
_MOST_SIMILARITIES = 1 << 26
"""Of one video that are held at once."""


class BestSample:
    """Gives a row its similarity to that sample of a query that is most similar to it."""

    uses_threads = True

    def __init__(self, query: SequenceQuery) -> None:
        lengths = np.linalg.norm(query.vectors, axis=1, keepdims=True)
        self._units = np.divide(query.vectors, lengths, out=np.zeros_like(query.vectors), where=lengths > 0)
        step = _DENSER if len(self._units) > _MOST_SAMPLES else 1
        self._some = self._units[::step]
        self._usual: list[NDArray[np.float32]] = [np.empty(0, np.float32)]

    def scores(self, vectors: Vectors, scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """``float32[N]``."""
        products = _products(vectors, scales, self._some)
        rows, columns = (max(1, size // count) for size, count in zip(products.shape, _SAMPLED, strict=True))
        self._usual.append(products[::rows, ::columns].reshape(-1))
        best: NDArray[np.float32] = products.max(axis=1, initial=-1)
        return best

    def similarities(self, vectors: Vectors, scales: NDArray[np.float32]) -> Similarities:
        """``float32[N, T]``: to all samples of the query."""
        return _products(vectors, scales, self._units)

    @property
    def num_samples(self) -> int:
        """Of the query."""
        return len(self._units)

    @property
    def floor(self) -> float:
        """Half way from what is usual between two pictures here to the same picture."""
        usual = np.concatenate(self._usual)
        return (1 + float(np.median(usual))) / 2 if len(usual) else 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """A stretch of a video that shows a part of the query."""

    video: VideoRows
    aligned: Aligned


def occurrences(
    query: SequenceQuery, scored: Sequence[Scanned], scorer: BestSample, sources: Sequence[Source], *, copies: Copies
) -> list[Occurrence]:
    """The stretches of all videos, the best first.

    Args:
        query: what is looked for.
        scored: the rows of each of ``sources`` and their scores by ``scorer``.
        scorer: of the query.
        sources: where the rows lie.
        copies: of the dataset.

    Raises:
        ForeignFile, StorageError: a file is damaged, or the store failed.
    """
    times, floor = QueryTimes(times_s=query.times_s, end_s=query.end_s), scorer.floor
    table = _Table(scorer, scored, sources, copies=copies)
    found: list[Occurrence] = []
    for video_id in _most_similar(scored, floor, query):
        video = VideoRows(video_id, scored, scorer)
        for part in _parts(video, query):
            similarities = table.rows(video, part, video_id=video_id)
            similarities[~np.isfinite(video.scores()[part])] = -1  # it is not looked for
            for aligned in stretches(similarities, video.times_s[part], times, floor=floor):
                found.append(Occurrence(video=video, aligned=_moved(aligned, part.start)))
    return sorted(found, key=lambda each: -each.aligned.gain)


def _most_similar(scored: Sequence[Scanned], floor: float, query: SequenceQuery) -> list[str]:
    """The videos with a segment whose best rows, as many as the query could take, are the most similar to it."""
    evidence: dict[bytes, float] = {}
    for each in scored:
        gains = np.maximum(0, np.nan_to_num(each.scores, neginf=0) - np.float32(floor))
        for run in each.rows.runs[_has_any(each, gains)]:
            span = slice(int(run["first"]), int(run["first"] + run["count"]))
            step_s = float(np.median(np.diff(each.rows.times_s[span]))) if run["count"] > 1 else query.end_s
            count = int(np.clip(query.end_s / max(step_s, 1e-3), 1, run["count"]))
            best = float(np.partition(gains[span], -count)[-count:].sum())
            evidence[run["video_id"]] = max(best, evidence.get(run["video_id"], 0.0))
    best_ids = heapq.nlargest(_ALIGNED_VIDEOS, evidence, key=lambda video_id: evidence[video_id])
    return [video_id.decode() for video_id in best_ids]


def _has_any(each: Scanned, gains: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which runs have a row that is above the floor."""
    runs = each.rows.runs
    has_any = np.zeros(len(runs), np.bool_)
    has_any[each.rows.runs_of(np.flatnonzero(gains > 0))] = True
    return has_any


def _parts(video: VideoRows, query: SequenceQuery) -> Iterator[slice]:
    """A long video in parts that overlap by as much as the query is long."""
    most = max(2, _MOST_SIMILARITIES // max(1, len(query.times_s)))
    begin = 0
    while begin < len(video):
        yield slice(begin, min(begin + most, len(video)))
        if begin + most >= len(video):
            return
        overlap_s = video.times_s[begin + most] - query.end_s
        begin = max(begin + most // 2, int(np.searchsorted(video.times_s, overlap_s)))


class _Table:
    """The similarities of rows to the samples of a query, wherever the rows lie."""

    def __init__(
        self, scorer: BestSample, scored: Sequence[Scanned], sources: Sequence[Source], *, copies: Copies
    ) -> None:
        self._scorer = scorer
        self._scored = scored
        self._sources = sources
        self._copies = copies

    def rows(self, video: VideoRows, part: slice, *, video_id: str) -> Similarities:
        """Of some rows of a video."""
        numbers, rows = video.sources[part], video.rows[part]
        table = np.empty((len(rows), self._scorer.num_samples), np.float32)
        for number in np.unique(numbers).tolist():
            mine = numbers == number
            table[mine] = self._of_source(number, rows[mine], video_id=video_id)
        return table

    def _of_source(self, number: int, rows: NDArray[np.int64], *, video_id: str) -> Similarities:
        source, own = self._sources[number], self._scored[number].rows
        if isinstance(source, Unpacked):
            return self._scorer.similarities(own.vectors[rows], own.scales[rows])
        table = np.empty((len(rows), self._scorer.num_samples), np.float32)

        def read(parts: FileParts) -> None:
            for group in parts.of_videos([video_id]):
                begin = int(group.runs["first"][0])
                is_here = (rows >= begin) & (rows < begin + len(group))
                at = rows[is_here] - begin
                table[is_here] = self._scorer.similarities(group.vectors[at], group.scales[at])

        self._copies.parts(source.file, read)
        return table


def _products(vectors: Vectors, scales: NDArray[np.float32], units: NDArray[np.float32]) -> Similarities:
    with np.errstate(invalid="ignore", over="ignore"):  # numbers that are not finite have the scale 0
        products: Similarities = vectors.astype(np.float32, copy=False) @ units.T
        products *= scales[:, None]
    products[scales == 0] = 0
    return products


def _moved(aligned: Aligned, rows: int) -> Aligned:
    """The same, of rows that count from elsewhere."""
    return replace(aligned, first=aligned.first + rows, last=aligned.last + rows, best=aligned.best + rows)
