"""The input as a run goes through it: which videos it holds, which of them the run is to process, which are new."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.extract.request import RunOptions
from pipeline.inputs.sources import Source, Sources, id_of, listed_video
from pipeline.lake.planned import plan_schema
from pipeline.records.documents import Document
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.rows import table_of
from pipeline.records.schemas import PLAN, SOURCES

# The first videos are planned while the others are still listed; each batch is then twice as large as the last.
_VIDEOS_AT_FIRST = 8
_GROWTH = 2
# A driver holds no more than this of what is to be planned, however large the archive.
_VIDEOS_AT_ONCE = 20_000


class Chosen:
    """The videos that a run is to process, and where they are read where that is not their ``uri``."""

    def __init__(self) -> None:
        self.ids = Ids()
        self.num_videos = 0  # counted here, for asking ``ids`` for its length sorts it
        self.locators: dict[str, str] = {}

    def add(self, video_id: str, source: Source) -> bool:
        """Add the video of a source; returns whether it is the first with it."""
        is_first = self.ids.add(video_id)
        self.num_videos += is_first
        if source.locator != source.uri:
            self.locators[video_id] = source.locator
        return is_first


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Some videos that a run is to process."""

    new: pa.Table
    """Those that are not planned yet: rows of ``listed_schema``."""
    planned: NDArray[np.bytes_]
    """The ids of the others."""


class Listing:
    """One pass over the input: ``videos`` and ``chosen`` are complete once ``batches`` has come to its end.

    Attributes:
        chosen: those videos of the run's shard that the run is to process: ``--limit`` may leave some out.
        plan_schema: the columns that their plan will have.
    """

    def __init__(self, inputs: Sources, options: RunOptions, *, planned: Ids) -> None:
        self.chosen = Chosen()
        self.plan_schema = plan_schema(inputs.fields)
        self._inputs = inputs
        self._options = options
        self._planned = planned
        self._left_out = Ids()

    @property
    def videos(self) -> Ids:
        """All that the input holds of the run's shard."""
        # Held once where nothing is left out, for of a million videos each set takes 10 MB.
        return Ids([self.chosen.ids.to_bytes(), self._left_out.to_bytes()]) if len(self._left_out) else self.chosen.ids

    def new_videos(self) -> Iterator[pa.Table]:
        """The chosen videos that are not ``planned`` yet, batch by batch, as rows of ``listed_schema``."""
        return (batch.new for batch in self.batches() if len(batch.new))

    def batches(self) -> Iterator[Batch]:
        """The chosen videos, few at first, and some thousands at a time later on."""
        most, rows, planned = _VIDEOS_AT_FIRST, list[Document](), list[str]()
        for video_id, row in self._chosen():
            if row is None:
                planned.append(video_id)
            else:
                rows.append(row)
            if len(rows) >= most or len(planned) >= _VIDEOS_AT_ONCE:
                yield self._batch(rows, planned)
                most, rows, planned = min(_GROWTH * most, _VIDEOS_AT_ONCE), [], []
        if rows or planned:
            yield self._batch(rows, planned)

    def _batch(self, rows: list[Document], planned: list[str]) -> Batch:
        new = table_of(rows, listed_schema(self.plan_schema))
        return Batch(new=new, planned=id_bytes(pa.chunked_array([pa.array(planned, pa.string())])))

    def _chosen(self) -> Iterator[tuple[str, Document | None]]:
        """The ids of chosen videos, each with its row where it is not planned yet."""
        shard, limit = self._options.shard, self._options.limit
        for source in self._inputs:
            video_id = id_of(source)
            if not shard.holds(video_id):
                continue
            if limit is not None and self.chosen.num_videos >= limit:
                self._left_out.add(video_id)
            elif self.chosen.add(video_id, source):
                is_new = video_id not in self._planned
                row = listed_video(source, attempts=1, known_id=video_id).to_row() if is_new else None
                yield video_id, row


def listed_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of listed videos whose plan will be of ``schema``; ``reason`` says why one is not even there."""
    further = [field for field in schema if field.name not in PLAN.names]
    return pa.schema([*SOURCES, PLAN.field("reason"), PLAN.field("detail"), *further])
