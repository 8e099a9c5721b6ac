"""A video whose features do not fit in memory: its times are read at once, its features a stretch at a time."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.files import DatasetFiles
from pipeline.lake.placed_rows import PlacedRows, read_placed
from pipeline.lake.video_groups import VideoGroup, common_rows, order_of
from pipeline.records.units import VideoSamples

_MOST_AROUND = 2
"""How many times as many rows as are wanted are read, where they do not lie in the order in which they are shown."""


class LongVideo:
    """One video of a lake.

    Attributes:
        video_id: of the video.
        uri: of the video.
        samples: all of them, in the order of (``epoch``, ``pts``).
    """

    def __init__(self, group: VideoGroup, files: Sequence[DatasetFiles], *, dims: Sequence[int]) -> None:
        """The only video of a group, whose times are read now; arguments and errors as of ``VideoGroup.read``."""
        [self.video_id], [end_s] = group.video_ids, group.end_s.tolist()
        self._files = files
        self._dims = dims
        self._placed: list[PlacedRows] = [placed.rows for placed in group.placed]
        read = [read_placed(each, placed, dim=0) for each, placed in zip(files, self._placed, strict=True)]
        orders = [order_of(rows.epochs, rows.pts) for rows in read]
        at = [np.arange(len(rows.pts)) if order is None else order for rows, order in zip(read, orders, strict=True)]
        if len(read) > 1:
            common = common_rows(
                [rows.epochs[order] for rows, order in zip(read, at, strict=True)],
                [rows.pts[order] for rows, order in zip(read, at, strict=True)],
            )
            at = [order[rows] for order, rows in zip(at, common, strict=True)]
        self._at = at
        first = read[0]
        self.uri = next((uri for uri in first.uris if uri), "")
        self.samples = VideoSamples(
            epochs=first.epochs[at[0]],
            pts=first.pts[at[0]],
            times_s=first.times_s[at[0]],
            end_s=None if np.isnan(end_s) else end_s,
        )

    def features(self, begin: int, end: int) -> NDArray[np.float32]:
        """``float32[end - begin, D]``: of the samples from ``begin`` to ``end - 1``."""
        features = np.empty((end - begin, sum(self._dims)), np.float32)
        column = 0
        for files, placed, at, dim in zip(self._files, self._placed, self._at, self._dims, strict=True):
            rows = at[begin:end]
            low, high = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
            if high - low > _MOST_AROUND * len(rows):  # such as of slots that were filled later
                features[:, column : column + dim] = read_placed(files, placed.rows(rows), dim=dim).features
            else:
                stretch = read_placed(files, placed.stretch(low, high), dim=dim)
                features[:, column : column + dim] = stretch.features[rows - low]
            column += dim
        return features
