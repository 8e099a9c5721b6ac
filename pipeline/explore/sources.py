"""What is searched through: features files, unpacked where there is a copy, and what streams wrote a moment ago."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.files import ForeignFile
from pipeline.lake.live.view import LiveLake
from pipeline.lake.unpacked.copies import Copies, FeaturesFile, Say
from pipeline.lake.unpacked.feature_rows import FeatureRows, no_rows, some_runs
from pipeline.lake.unpacked.parquet_parts import part_of
from pipeline.records.tables import FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """Rows that can be read at any place: those of a file's copy, or such as are in memory and in no file yet."""

    rows: FeatureRows
    file: FeaturesFile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A features file without a copy: it is read from front to back."""

    file: FeaturesFile


Source = Unpacked | Packed


class Sources:
    """The rows of one dataset as they are now. Safe to use from many threads.

    Attributes:
        copies: the unpacked ones.
    """

    def __init__(self, dataset: Dataset, info: DatasetInfo, *, has_cache: bool) -> None:
        self._dataset = dataset
        self._info = info
        self.copies = Copies(dataset, info)
        self._has_cache = has_cache and self.copies.folder is not None

    def unpack(self, say: Say) -> None:
        """Make the copies that are missing. Raises as ``Copies.make``."""
        if self._has_cache:
            self.copies.make(self.copies.files(), say=say)

    def now(self) -> list[Source]:
        """All rows that are there, those that streams wrote a moment ago included.

        Raises:
            ForeignFile, StorageError: the journal of a stream is damaged, or the store failed.
        """
        written = self._unpublished()  # before the files are listed: what is published in between is not missed
        sources: list[Source] = [self._source(file) for file in self.copies.files()]
        left = _without_published(written, [each.rows for each in sources if isinstance(each, Unpacked)])
        return [*sources, Unpacked(rows=left, file=None)] if len(left) else sources

    def _unpublished(self) -> FeatureRows:
        entries = LiveLake(self._dataset, self._info, stream=None).unpublished(FEATURES)
        if not entries:
            return no_rows()
        try:
            return part_of(pa.concat_tables([entry.rows[FEATURES] for entry in entries]), 0, {})
        except (pa.ArrowException, ValueError, KeyError, AttributeError):
            raise ForeignFile(f"{self._dataset.store.uri}: what its streams wrote last is damaged") from None

    def _source(self, file: FeaturesFile) -> Source:
        rows = self.copies.opened(file) if self._has_cache else None
        return Packed(file=file) if rows is None else Unpacked(rows=rows, file=file)


def _without_published(written: FeatureRows, there: Sequence[FeatureRows]) -> FeatureRows:
    """Rows of a journal without those of segments that are in a file by now."""
    names = ["video_id", "segment"]
    is_new = np.ones(len(written.runs), np.bool_)
    for rows in there if len(written) else ():
        is_new &= ~np.isin(written.runs[names], rows.runs[names])
    return written if is_new.all() else some_runs(written, np.flatnonzero(is_new))
