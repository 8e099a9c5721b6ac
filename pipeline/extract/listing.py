"""The input as a run goes through it: which videos it holds, which of them the run is to process, which are new."""

import itertools
from collections.abc import Iterator

import pyarrow as pa

from pipeline.extract.request import RunOptions
from pipeline.inputs.sources import Source, Sources, id_of, listed_video
from pipeline.lake.ids import Ids
from pipeline.lake.planned import plan_schema
from pipeline.records.documents import Document
from pipeline.records.rows import table_of
from pipeline.records.schemas import PLAN, SOURCES

# A driver holds no more than this of what is to be planned, however large the archive.
_VIDEOS_AT_ONCE = 20_000


class Chosen:
    """The videos that a run is to process, and where they are read where that is not their ``uri``."""

    def __init__(self) -> None:
        self.ids = Ids()
        self.num_videos = 0  # counted here, for asking ``ids`` for its length sorts it
        self.locators: dict[str, str] = {}

    def add(self, video_id: str, source: Source) -> None:
        """Add the video of a source."""
        self.num_videos += video_id not in self.ids
        self.ids.add(video_id)
        if source.locator != source.uri:
            self.locators[video_id] = source.locator


class Listing:
    """One pass over the input: ``videos`` and ``chosen`` are complete once ``new_videos`` has come to its end.

    Attributes:
        videos: all that the input holds of the run's shard.
        chosen: those of them that the run is to process: ``--limit`` may leave some out.
        plan_schema: the columns that their plan will have.
    """

    def __init__(self, inputs: Sources, options: RunOptions, *, planned: Ids) -> None:
        self.videos = Ids()
        self.chosen = Chosen()
        self.plan_schema = plan_schema(inputs.fields)
        self._inputs = inputs
        self._options = options
        self._planned = planned

    def new_videos(self) -> Iterator[pa.Table]:
        """The chosen videos that are not ``planned`` yet, some thousands at a time, as rows of ``listed_schema``."""
        schema = listed_schema(self.plan_schema)
        rows = self._new_rows()
        while some := list(itertools.islice(rows, _VIDEOS_AT_ONCE)):
            yield table_of(some, schema)

    def _new_rows(self) -> Iterator[Document]:
        shard, limit = self._options.shard, self._options.limit
        for source in self._inputs:
            video_id = id_of(source)
            if not shard.holds(video_id):
                continue
            self.videos.add(video_id)
            if limit is None or self.chosen.num_videos < limit:
                self.chosen.add(video_id, source)
                if video_id not in self._planned:
                    yield listed_video(source, attempts=1, known_id=video_id).to_row()


def listed_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of listed videos whose plan will be of ``schema``; ``reason`` says why one is not even there."""
    further = [field for field in schema if field.name not in PLAN.names]
    return pa.schema([*SOURCES, PLAN.field("reason"), PLAN.field("detail"), *further])
