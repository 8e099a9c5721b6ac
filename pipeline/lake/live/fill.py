"""Slots that were dropped, and come from a recording later."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.live.batches import StoredGap
from pipeline.records.segments import FrameMark


class LiveFill:
    """Commits the rows of slots that stand in gaps; holds the lease ``fill`` until closed, beside the streams' own.

    Raises as ``LiveWriter`` does.
    """

    def __init__(self, uri: str) -> None:
        """Take the lease.

        Raises:
            UsageError: there is no lake, or another ``fill`` is at work.
            StorageError: the store failed.
        """
        raise NotImplementedError

    @property
    def token(self) -> str:
        """Of the lease."""
        raise NotImplementedError

    def commit(self, gap: StoredGap, marks: tuple[FrameMark, ...], features: NDArray[np.float32]) -> None:
        """Commit rows of one gap, with the recording's pts; each lies in a slot of the gap, and has none before it.

        Published at once, in a file of their own; ``captured_at`` follows from the gap. A slot that was filled
        meanwhile is passed over. Those that remain stay in the gap, which then comes as several.

        Args:
            gap: as ``readers.gaps`` gives it.
            marks: of the rows, T of them, by pts.
            features: ``float32[T, D]``.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Say in ``gaps`` and ``videos`` what is filled, and give the lease back."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
