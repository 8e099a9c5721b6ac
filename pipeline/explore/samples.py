"""The vector of the sample of a video that is nearest to a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.explore.queries import SampleQuery
from pipeline.explore.sources import Source, Unpacked
from pipeline.explore.video_rows import rows_of_runs
from pipeline.lake.unpacked.copies import Copies
from pipeline.lake.unpacked.feature_rows import FeatureRows
from pipeline.lake.unpacked.parquet_parts import FileParts


@dataclass(slots=True)
class _Nearest:
    """The nearest sample so far."""

    video_ids: list[bytes]
    time_s: float
    distance: tuple[int, float] = (1 << 30, np.inf)
    vector: NDArray[np.float32] | None = None

    def look(self, rows: FeatureRows, *, begin: int) -> None:
        """Look at rows whose runs count from ``begin``: of the first video that has any, and nearest in time."""
        for rank, video_id in enumerate(self.video_ids):
            places = rows_of_runs(rows.runs[rows.runs["video_id"] == video_id]) - begin
            if len(places):
                distances = np.abs(rows.times_s[places] - self.time_s)
                at = int(places[np.argmin(distances)])
                found = (rank, float(distances.min()))
                if found < self.distance:
                    self.distance, self.vector = found, rows.vectors[at].astype(np.float32)


def sample_vector(
    video_ids: Sequence[str], query: SampleQuery, sources: Sequence[Source], *, copies: Copies
) -> NDArray[np.float32]:
    """``float32[D]``: of the sample nearest to a time, of the first of the videos that has a sample.

    Raises:
        UsageError: none has.
        ForeignFile, StorageError: a file is damaged, or the store failed.
    """
    nearest = _Nearest(video_ids=[video_id.encode() for video_id in video_ids], time_s=query.time_s)
    for source in sources:
        if isinstance(source, Unpacked):
            nearest.look(source.rows, begin=0)
        else:
            copies.parts(source.file, lambda parts: _look_through(parts, video_ids, nearest))
    if nearest.vector is None:
        raise UsageError(f"{query.uri} has no sample in the lake")
    return nearest.vector


def _look_through(parts: FileParts, video_ids: Sequence[str], nearest: _Nearest) -> None:
    for part in parts.of_videos(video_ids):
        nearest.look(part, begin=int(part.runs["first"][0]))


def written_ids(uri: str, sources: Sequence[Source]) -> list[str]:
    """The sessions at an address that a stream wrote a moment ago, and that the table ``videos`` may not have yet."""
    written = [each.rows for each in sources if isinstance(each, Unpacked) and each.file is None]
    runs = [run for rows in written for run in rows.runs if rows.uris[int(run["uri"])] == uri]
    return list(dict.fromkeys(run["video_id"].decode() for run in runs))


def rows_of_video(video_id: str, sources: Sequence[Source], *, copies: Copies) -> Iterator[FeatureRows]:
    """The rows of one video with their vectors, as they lie; their runs are those of the video alone.

    Raises:
        ForeignFile, StorageError: a file is damaged, or the store failed.
    """
    for source in sources:
        if isinstance(source, Unpacked):
            yield from _own([source.rows], video_id)
        else:
            kept: list[FeatureRows] = []

            def read(parts: FileParts, kept: list[FeatureRows] = kept) -> None:
                kept[:] = _own(parts.of_videos([video_id]), video_id)

            copies.parts(source.file, read)
            yield from kept


def _own(parts: Iterable[FeatureRows], video_id: str) -> Iterator[FeatureRows]:
    for part in parts:
        runs = part.runs[part.runs["video_id"] == video_id.encode()]
        for run in runs:
            begin = int(run["first"] - part.runs["first"][0])
            span = slice(begin, begin + int(run["count"]))
            yield part.part(span, runs=run.reshape(1))
