"""``pipeline.read``: a dataset in the form in which people already work."""

from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    import datasets
    import pandas as pd


class LakeReader:
    """The rows of one dataset, filters pushed down to its files.

    lake = pipeline.read("features-of-cats", where={"camera": "cam2"}, since="2026-11-01")
    lake.to_pandas()
    """

    @classmethod
    def at(cls, uri: str) -> Self:
        """The dataset at ``uri``.

        Raises:
            UsageError: there is none.
        """
        raise NotImplementedError

    def to_arrow(self, columns: list[str] | None = None) -> pa.Table:
        """The table ``features``, a row a sample."""
        raise NotImplementedError

    def to_pandas(self, columns: list[str] | None = None) -> "pd.DataFrame":
        """The same as a data frame; a feature is an array."""
        raise NotImplementedError

    def to_huggingface(self, columns: list[str] | None = None) -> "datasets.Dataset":
        """The same as a ``datasets.Dataset``, from memory-mapped Arrow files and not from memory."""
        raise NotImplementedError

    def features(self, video_id: str) -> NDArray[np.float32]:
        """``float32[T, D]``: those of one video, in the order of (``epoch``, ``pts``)."""
        raise NotImplementedError

    @property
    def videos(self) -> pa.Table:
        """A row a video."""
        raise NotImplementedError

    @property
    def quarantine(self) -> pa.Table:
        """A row a failure."""
        raise NotImplementedError
