"""What is searched through: the features files of a dataset, unpacked where there is a copy, else as Parquet."""

from dataclasses import dataclass

from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.unpacked.copies import Copies, FeaturesFile, Say
from pipeline.lake.unpacked.feature_rows import FeatureRows


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
        self.copies = Copies(dataset, info)
        self._has_cache = has_cache and self.copies.folder is not None

    def unpack(self, say: Say) -> None:
        """Make the copies that are missing. Raises as ``Copies.make``."""
        if self._has_cache:
            self.copies.make(self.copies.files(), say=say)

    def now(self) -> list[Source]:
        """All rows that are there, each once.

        Raises:
            StorageError: the store failed.
        """
        return [self._source(file) for file in self.copies.files()]

    def _source(self, file: FeaturesFile) -> Source:
        rows = self.copies.opened(file) if self._has_cache else None
        return Packed(file=file) if rows is None else Unpacked(rows=rows, file=file)
