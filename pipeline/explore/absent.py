"""How many samples quarantine and gaps keep out of a dataset, as far as that is known."""

import threading

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.lake.dataset import Dataset
from pipeline.lake.files import DatasetFiles
from pipeline.lake.planned import Planned
from pipeline.records.ids import find_places, id_bytes, segment_keys
from pipeline.records.tables import QUARANTINE

_GAPS = "gaps"


class Absent:
    """The count of one dataset, made anew once quarantine or gaps have changed. Safe to use from many threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._lock = threading.Lock()
        self._versions: tuple[dict[str, str], ...] | None = None
        self._count = 0

    def count(self) -> int:
        """The samples that were planned of segments that failed and are not there, and the slots of gaps.

        How many a video would have had that could not be planned at all, nobody knows.

        Raises:
            ForeignFile, StorageError: a file is damaged, or the store failed.
        """
        with self._lock:
            versions = tuple(self._dataset.store.versions(name) for name in (QUARANTINE.name, _GAPS))
            if versions != self._versions:
                self._count = _quarantined(self._dataset) + _slots(self._dataset.files)
                self._versions = versions
            return self._count


def _quarantined(dataset: Dataset) -> int:
    parts = [_read(dataset.files, name, ["video_id", "segment"]) for name in dataset.files.tables(QUARANTINE.name)]
    failed = pa.concat_tables(parts) if parts else QUARANTINE.schema.empty_table().select(["video_id", "segment"])
    failed = failed.filter(pc.is_valid(failed["segment"]))
    if not len(failed):
        return 0
    keys = np.unique(segment_keys(id_bytes(failed["video_id"]), failed["segment"].to_numpy()))
    return max(0, _planned(dataset, keys) - _kept(dataset, keys))


def _planned(dataset: Dataset, keys: "np.ndarray[tuple[int], np.dtype[np.bytes_]]") -> int:
    total = 0
    for _, part in Planned(dataset).parts(["video_id", "segments"]):
        segments = pc.list_flatten(part["segments"])
        owner = pc.list_parent_indices(part["segments"]).to_numpy()
        index, counts = (pc.struct_field(segments, name).to_numpy() for name in ("index", "num_samples"))
        mine = find_places(keys, segment_keys(id_bytes(part["video_id"])[owner], index)) >= 0
        total += int(counts[mine].sum())
    return total


def _kept(dataset: Dataset, keys: "np.ndarray[tuple[int], np.dtype[np.bytes_]]") -> int:
    total = 0
    for settled in dataset.settled_parts():
        segments = pc.fill_null(settled["segment"], -1).to_numpy()
        mine = find_places(keys, segment_keys(id_bytes(settled["video_id"]), segments)) >= 0
        total += int(settled["num_samples"].to_numpy()[mine].sum())
    return total


def _slots(files: DatasetFiles) -> int:
    return sum(pc.sum(_read(files, name, ["num_slots"])["num_slots"]).as_py() or 0 for name in files.tables(_GAPS))


def _read(files: DatasetFiles, name: str, columns: list[str]) -> pa.Table:
    table: pa.Table = files.read_ours(name, lambda file: pq.ParquetFile(file).read(columns))
    return table
