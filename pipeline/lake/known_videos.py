"""What the table ``videos`` says of each, in a few bytes: is it current, where does it end, when was it recorded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.files import DatasetFiles, ForeignFile
from pipeline.records.ids import ID_BYTES, find_places, id_bytes
from pipeline.records.periods import moment_of
from pipeline.records.tables import VIDEOS

_COLUMNS = ("video_id", "is_current", "duration_s", "end_s", "creation_time", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownVideos:
    """The videos of a dataset's table ``videos``. One that it lacks is current, and nothing else of it is known."""

    ids: NDArray[np.bytes_]
    """Sorted."""
    is_current: NDArray[np.bool_]
    end_s: NDArray[np.float64]
    """Where the video ends, or the range that its manifest asks for, on the axis of ``time_s``; NaN: not known."""
    recorded_s: NDArray[np.float64]
    """When its first frame was recorded, in seconds since the Unix epoch: its ``creation_time``; NaN: not known.

    A file's mtime does not tell: it is that of the last copy.
    """
    is_session: NDArray[np.bool_]
    """Whether it is one of a stream: then each row says by itself when it was captured."""

    @classmethod
    def of(cls, files: DatasetFiles) -> Self:
        """Those of a dataset. Raises as ``video_parts`` does."""
        ids, values = [np.empty(0, f"S{ID_BYTES}")], [np.empty((0, 4))]
        for part in video_parts(files, _COLUMNS):
            ids.append(_ids(part, files))
            is_current = pc.fill_null(part["is_current"], True).to_numpy().astype(np.float64)
            is_session = pc.is_valid(part["stream"]).to_numpy().astype(np.float64)
            values.append(np.stack([is_current, _ends(part), _recorded(part), is_session], axis=1))
        all_ids, all_values = np.concatenate(ids), np.concatenate(values)
        order = np.argsort(all_ids, kind="stable")
        is_current, end_s, recorded_s, is_session = all_values[order].T
        return cls(
            ids=all_ids[order],
            is_current=is_current > 0,
            end_s=end_s.copy(),
            recorded_s=recorded_s.copy(),
            is_session=is_session > 0,
        )

    def are_current(self, ids: NDArray[np.bytes_]) -> NDArray[np.bool_]:
        """Which of these videos are current."""
        at = find_places(self.ids, ids)
        return np.where(at >= 0, self.is_current[at], True) if len(self.ids) else at < 0

    def ends_of(self, ids: NDArray[np.bytes_]) -> NDArray[np.float64]:
        """Where these videos end."""
        return self._of(self.end_s, ids)

    def recorded_of(self, ids: NDArray[np.bytes_]) -> NDArray[np.float64]:
        """When the first frames of these videos were recorded."""
        return self._of(self.recorded_s, ids)

    def dated_of(self, ids: NDArray[np.bytes_]) -> NDArray[np.float64]:
        """The same; NaN also of sessions, for whose rows their own ``captured_at`` counts."""
        return self._of(np.where(self.is_session, np.nan, self.recorded_s), ids)

    def _of(self, values: NDArray[np.float64], ids: NDArray[np.bytes_]) -> NDArray[np.float64]:
        at = find_places(self.ids, ids)
        return np.where(at >= 0, values[at], np.nan) if len(self.ids) else np.full(len(ids), np.nan)


def video_parts(files: DatasetFiles, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The table ``videos``, file by file, in these columns: its own, or a manifest's.

    A file without a column has nulls in its place, of the column's type where it is one of the table's own.

    Raises:
        ForeignFile: a file is damaged.
    """

    def read(file: pa.NativeFile) -> pa.Table:
        parquet = pq.ParquetFile(file)
        there = set(parquet.schema_arrow.names)
        part = parquet.read([name for name in columns if name in there])
        return pa.table({name: part[name] if name in there else _nulls(name, len(part)) for name in columns})

    for name in files.tables(VIDEOS.name):
        yield files.read_ours(name, read)


def _ids(part: pa.Table, files: DatasetFiles) -> NDArray[np.bytes_]:
    try:
        return id_bytes(part["video_id"])
    except (ValueError, AttributeError):  # somebody else may have written it
        raise ForeignFile(f"{files.uri(VIDEOS.name)} holds a row without a video's id: derive it anew") from None


def _nulls(name: str, count: int) -> pa.Array:
    return pa.nulls(count, VIDEOS.schema.field(name).type if name in VIDEOS.schema.names else pa.null())


def _ends(part: pa.Table) -> NDArray[np.float64]:
    ends = [pc.fill_null(part[name].cast(pa.float64()), np.nan).to_numpy() for name in ("duration_s", "end_s")]
    earlier: NDArray[np.float64] = np.fmin(*ends)
    return earlier


def _recorded(part: pa.Table) -> NDArray[np.float64]:
    recorded_s = np.full(len(part), np.nan)
    for row, text in enumerate(part["creation_time"].to_pylist()):
        if text is not None:
            try:
                recorded_s[row] = moment_of(text)
            except (ValueError, OverflowError):
                continue  # a container may say anything
    return recorded_s
