"""Where a stage's rows leave Ray Data: finished segments are published in the run's datasets."""

import time
from collections.abc import Iterable

import pyarrow as pa
from ray.data import Datasink
from ray.data.block import Block

from pipeline.extract.context import RunContext, Target, ThumbnailTarget
from pipeline.extract.tally import Counts, Worked
from pipeline.records.rows import embedded_rows, last_attempts, pictured_rows, settled_of
from pipeline.records.thumbnails import thumbnail_rows


class FeatureSinks(Datasink[int]):
    """Hands finished segments to the sink of each output."""

    def __init__(self, context: RunContext) -> None:
        self._sinks: list[FeatureSink | PictureSink | ThumbnailSink] = [
            PictureSink(target, place=context.place_of(target))
            if context.keeps_inputs
            else FeatureSink(target, place=place)
            for place, target in enumerate(context.targets)
        ]
        if context.thumbnails is not None:
            self._sinks.append(ThumbnailSink(context.thumbnails))
        self._segments_per_file = context.sizes.segments_per_file
        self._tally = context.tally

    @property
    def min_rows_per_write(self) -> int:
        """Segments a file: a row is a segment, and Ray never splits a row."""
        return self._segments_per_file

    def write(self, blocks: Iterable[Block], ctx: object) -> int:
        """Publish one file of each output."""
        began = time.time()
        tables = [block for block in blocks if len(block)]
        if not tables:
            return 0
        outputs = pa.concat_tables(tables)
        num_bytes = sum(sink.commit(outputs) for sink in self._sinks)
        num_samples = sum(outputs["num_samples"].to_pylist())
        counts = Counts(num_segments=len(outputs), num_samples=num_samples, num_bytes=num_bytes)
        self._tally.add(Worked(stage="commit", began=began, counts=counts))
        return len(outputs)


class FeatureSink:
    """Commits the features of one model to its dataset."""

    def __init__(self, target: Target, *, place: int) -> None:
        self._target = target
        self._place = place

    def commit(self, outputs: pa.Table) -> int:
        """Publish the model's column of finished segments in one file; returns bytes written.

        Where the commit of another dataset fails, Ray repeats all: a file that is there already is left as it is.
        """
        embedded = embedded_rows(outputs, place=self._place)
        return self._target.dataset.publish_features(embedded, self._target.info, token=self._target.token)


class PictureSink:
    """Commits the pictures that one model takes to its dataset."""

    def __init__(self, target: Target, *, place: int) -> None:
        self._target = target
        self._place = place

    def commit(self, outputs: pa.Table) -> int:
        """Publish finished segments, as decoded, in one file; returns bytes written."""
        pictured = pictured_rows(outputs, place=self._place)
        return self._target.dataset.publish_features(pictured, self._target.info, token=self._target.token)


class ThumbnailSink:
    """Commits the thumbnails of samples to their table."""

    def __init__(self, target: ThumbnailTarget) -> None:
        self._target = target

    def commit(self, outputs: pa.Table) -> int:
        """Publish those of finished segments in one file; returns bytes written."""
        outputs, table = last_attempts(outputs), self._target.table
        rows = thumbnail_rows(outputs, schema=table.schema)
        return self._target.dataset.publish(table, rows, settled_of(outputs), token=self._target.token)
