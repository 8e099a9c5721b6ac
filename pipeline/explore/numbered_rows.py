"""The rows of a dataset by their numbers, read from its unpacked copy."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StorageError
from pipeline.explore.queries import Scope
from pipeline.explore.sources import Sources, Unpacked
from pipeline.explore.videos import Videos, is_in_scope
from pipeline.lake.dataset import Dataset
from pipeline.lake.unpacked.feature_rows import FeatureRows

Columns = dict[str, str | int | float]


class UnpackedRows:
    """The rows of some files that are looked for, numbered in the order in which they lie."""

    def __init__(self, parts: list[FeatureRows], chosen: list[NDArray[np.int64]]) -> None:
        self._parts = parts
        self._chosen = chosen
        self._ends = np.cumsum([0, *map(len, chosen)])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def row(self, number: int) -> tuple[NDArray[np.float32], Columns]:
        """A row's feature, ``float32[D]``, and its other columns."""
        part = int(np.searchsorted(self._ends, number, side="right")) - 1
        rows, at = self._parts[part], int(self._chosen[part][number - self._ends[part]])
        run = rows.runs[rows.runs_of(np.array([at]))[0]]
        return rows.vectors[at].astype(np.float32), {
            "video_id": run["video_id"].decode(),
            "uri": rows.uris[int(run["uri"])],
            "epoch": int(run["epoch"]),
            "pts": int(rows.pts[at]),
            "time_s": float(rows.times_s[at]),
        }


def open_numbered_rows(uri: str, scope: Scope) -> UnpackedRows:
    """The rows of the current videos of a dataset that are in a scope.

    Raises:
        UsageError: there is no dataset, or a condition is none.
        StorageError: there is no room for the unpacked copy, or the store failed.
    """
    dataset = Dataset.at(uri)
    sources = Sources(dataset, dataset.existing(), has_cache=True)
    sources.unpack(lambda _: None)
    videos = Videos(dataset)
    ids, known = videos.ids_in(scope), videos.known()
    parts = [source.rows for source in sources.now() if isinstance(source, Unpacked)]
    if len(parts) < len(sources.now()):
        raise StorageError(f"{uri}: there is no room for its unpacked features: free some, or set XDG_CACHE_HOME")
    return UnpackedRows(parts, [np.flatnonzero(is_in_scope(part, scope, ids, known)) for part in parts])
