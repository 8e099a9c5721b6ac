"""The table ``videos`` for a search: what a condition holds for, what an address means, what was recorded when."""

import threading
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.explore.conditions import Condition
from pipeline.explore.queries import Scope, Value
from pipeline.lake.dataset import Dataset
from pipeline.lake.files import DatasetFiles
from pipeline.lake.known_videos import KnownVideos, video_parts
from pipeline.lake.unpacked.feature_rows import FeatureRows
from pipeline.records.ids import ID_BYTES, find_places, id_bytes
from pipeline.records.tables import VIDEOS

_MOST_NAMED = 5


class Videos:
    """What the table says now; it is read again once one of its files was replaced. Safe to use from many threads."""

    def __init__(self, dataset: Dataset) -> None:
        self._files = dataset.files
        self._store = dataset.store
        self._lock = threading.Lock()
        self._versions: dict[str, str] | None = None
        self._known: KnownVideos
        self._names: pa.Table

    def known(self) -> KnownVideos:
        """Which are current, and when each was recorded. Raises as ``video_parts``."""
        with self._lock:
            self._refresh()
            return self._known

    def ids_at(self, uri: str) -> list[str]:
        """The ids of the videos at an address, the current one first; or of the one video whose address ends so.

        Raises:
            UsageError: there is none, or several end so.
        """
        with self._lock:
            self._refresh()
            names = self._names
        found = names.filter(pc.equal(names["uri"], uri))
        if not len(found):
            found = names.filter(pc.ends_with(names["uri"], f"/{uri}"))
            uris = pc.unique(found["uri"]).to_pylist()
            if len(uris) > 1:
                shown = ", ".join(uris[:_MOST_NAMED]) + (" ..." if len(uris) > _MOST_NAMED else "")
                raise UsageError(f"{uri} is the end of {len(uris)} videos' addresses ({shown}): give more of it")
        if not len(found):
            raise UsageError(f"{self._store.uri} has no video {uri}")
        is_current = pc.fill_null(found["is_current"], True).to_numpy()
        ids = found["video_id"].to_pylist()
        return [ids[at] for at in np.argsort(~is_current, kind="stable")]

    def ids_in(self, scope: Scope) -> NDArray[np.bytes_] | None:
        """The sorted ids of the videos that a scope's conditions hold for; ``None``: it has none.

        Raises:
            UsageError: one of them is none, or names a column that is not there.
        """
        if scope.where is None and not scope.equal:
            return None
        schema = videos_schema(self._files)
        condition = None if scope.where is None else Condition(scope.where, schema)
        ids = [np.empty(0, f"S{ID_BYTES}")]
        for part in whole_parts(self._files, schema):
            kept = part if condition is None else condition.filter(part)
            ids.append(id_bytes(_with_values(kept, scope.equal)["video_id"]))
        if condition is not None:
            condition.close()
        return np.unique(np.concatenate(ids))

    def _refresh(self) -> None:
        versions = self._store.versions(VIDEOS.name)
        if versions != self._versions:
            self._known = KnownVideos.of(self._files)
            parts = list(video_parts(self._files, ("video_id", "uri", "is_current")))
            empty = VIDEOS.schema.empty_table().select(["video_id", "uri", "is_current"])
            self._names = pa.concat_tables([empty, *(part.cast(empty.schema) for part in parts)])
            self._versions = versions


def is_in_scope(
    rows: FeatureRows, scope: Scope, ids: NDArray[np.bytes_] | None, known: KnownVideos
) -> NDArray[np.bool_]:
    """Which of N rows are in a scope: ``bool[N]``.

    Args:
        rows: all of them.
        scope: whose period counts here.
        ids: of the videos that its conditions hold for, sorted; ``None``: it has none.
        known: which videos are current, and when each was recorded.
    """
    runs = rows.runs
    is_in = known.are_current(runs["video_id"])
    if ids is not None:
        is_in &= find_places(ids, runs["video_id"]) >= 0
    of_rows = np.repeat(is_in, runs["count"])
    return of_rows if scope.period.is_open else of_rows & scope.period.holds(captured(rows, known))


def captured(rows: FeatureRows, known: KnownVideos) -> NDArray[np.float64]:
    """When each row was captured, in seconds since the Unix epoch: as its file says, or its video; NaN: not known."""
    recorded_s = np.repeat(known.recorded_of(rows.runs["video_id"]), rows.runs["count"])
    return np.where(np.isnan(rows.captured_s), recorded_s + rows.times_s, rows.captured_s)


def videos_schema(files: DatasetFiles) -> pa.Schema:
    """The columns of ``videos``, those of all manifests included; where two disagree on a type, it is text.

    Raises:
        ForeignFile: a file is damaged.
    """
    fields = {field.name: field for field in VIDEOS.schema}
    for name in files.tables(VIDEOS.name):
        for field in files.read_ours(name, lambda file: pq.ParquetFile(file).schema_arrow):
            known = fields.get(field.name)
            if known is None or pa.types.is_null(known.type):
                fields[field.name] = field.remove_metadata()
            elif known.type != field.type and not pa.types.is_null(field.type):
                fields[field.name] = pa.field(field.name, pa.string())
    return pa.schema(list(fields.values()))


def whole_parts(files: DatasetFiles, schema: pa.Schema) -> Iterator[pa.Table]:
    """The table ``videos``, file by file, in the columns of ``schema``, and once without a row.

    Raises:
        ForeignFile: a file is damaged.
    """
    yield schema.empty_table()
    for part in video_parts(files, schema.names):
        columns = [_as(part[field.name], field.type) for field in schema]
        yield pa.Table.from_arrays(columns, schema=schema)


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        texts = [None if value is None else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())]).cast(kind)


def _with_values(part: pa.Table, equal: Mapping[str, Value]) -> pa.Table:
    for name, value in equal.items():
        if name not in part.column_names:
            raise UsageError(f"videos has no column {name[:100]!r}; it has {', '.join(part.column_names)}")
        if value is None:
            part = part.filter(pc.is_null(part[name]))
            continue
        try:
            part = part.filter(pc.equal(part[name], pa.scalar(value).cast(part.schema.field(name).type)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            kind = part.schema.field(name).type
            raise UsageError(f"column {name} of videos holds {kind}, with which {value!r} cannot be compared") from None
    return part
