"""The plan, each video once, and which videos the input holds now: the ground of ``is_current``."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake import earlier_versions
from pipeline.lake.dataset import Dataset
from pipeline.lake.files import DatasetFiles, digest_of, parquet_bytes
from pipeline.lake.publishing.store import MissingFile
from pipeline.records.ids import ID_BYTES, Ids, find_places, id_bytes, in_shard, packed, repeated, unpacked
from pipeline.records.rows import concat
from pipeline.records.schemas import PLAN
from pipeline.records.shards import Shard

PLAN_FOLDER = "_vidlake/plan"
LISTING = "_vidlake/listing.parquet"
VIDEOS_PER_FILE = 5_000
"""At most."""


def plan_schema(fields: Sequence[pa.Field]) -> pa.Schema:
    """``PLAN`` with a manifest's further columns."""
    return pa.schema([*PLAN, *fields])


def publish_plan(dataset: Dataset, planned: pa.Table, *, token: str) -> list[str]:
    """Add videos to the plan: rows of ``PLAN``, perhaps with a manifest's further columns.

    Returns:
        The names of the files that hold them.
    """
    names = []
    for at in range(0, len(planned), VIDEOS_PER_FILE):
        part = planned.slice(at, VIDEOS_PER_FILE)
        keys = zip(part["video_id"].to_pylist(), part["attempts"].to_pylist(), strict=True)
        name = f"{PLAN_FOLDER}/{digest_of(f'{video}.{attempts}' for video, attempts in keys)}.parquet"
        stand_in = parquet_bytes(part.slice(0, 0))
        dataset.files.fence(token).publish(name, parquet_bytes(part), stand_in=stand_in)
        names.append(name)
    return names


def stem_of(name: str) -> str:
    """What of the name of a file of the plan says what is in it; the rest is a mark of the run, if any."""
    return name.rpartition("/")[2].partition(".")[0].partition("-")[0]


class PlanFiles:
    """The files of the plan, each of a few thousand videos at most, under today's names of the columns."""

    def __init__(self, files: DatasetFiles) -> None:
        self._files = files

    def uri(self, name: str) -> str:
        """The address of a file."""
        return self._files.uri(name)

    def names(self) -> list[str]:
        """The names of the files."""
        return self._files.tables(PLAN_FOLDER)

    def schema_of(self, name: str) -> pa.Schema:
        """The columns of one file: ``PLAN``, and a manifest's own. Raises as ``part``."""
        return self._files.read_ours(name, lambda file: earlier_versions.plan_schema(pq.ParquetFile(file).schema_arrow))

    def part(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One file; ``columns``: only these.

        Raises:
            ForeignFile: it is damaged.
        """
        return self._files.read_ours(name, lambda file: _rows(file, columns))

    def ids(self, name: str) -> NDArray[np.bytes_]:
        """The videos of one file, packed, each as often as it is there. Raises as ``part``."""
        return self._files.read_ours(name, lambda file: packed(id_bytes(_rows(file, ["video_id"])["video_id"])))


class Planned:
    """The plan, a few thousand videos at a time, each video once.

    A video may have been planned more than once: what failed is planned again by ``retry``. The first plan that cut it
    counts, for stored rows carry the numbers of its segments; where none did, the last failure does.

    Attributes:
        ids: of all planned videos.
        schema: ``PLAN`` and all manifests' further columns; where two disagree on a type, the wider one, or text.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._files = PlanFiles(dataset.files)
        self._names = self._files.names()
        self.schema = _united([self._files.schema_of(name) for name in self._names])
        self._packed: dict[str, NDArray[np.bytes_]] = {}
        self.ids = Ids(self._ids())
        num_rows = sum(map(len, self._packed.values()))
        self._losers = self._find_losers(repeated(self._ids())) if len(self.ids) < num_rows else {}

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Each file's name, without folder and ending, and its rows that count, in the columns of ``schema``."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        for name in self._names:
            yield name.rpartition("/")[2].removesuffix(".parquet"), self._part(name, schema)

    def part(self, name: str) -> pa.Table:
        """The rows of one file that count, in the columns of ``schema``."""
        return self._part(name, self.schema)

    def of_videos(self, ids: NDArray[np.bytes_], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of those of these videos that are planned, in the columns of ``schema``; reads no other files."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        places = find_places(self._index[0], packed(ids))
        files = np.unique(self._index[1][places[places >= 0]]).tolist()
        wanted = Ids([ids])
        parts = [self._part(self._names[file], schema) for file in files]
        return concat([part.filter(pa.array(wanted.mask(part["video_id"]))) for part in parts], schema)

    @cached_property
    def _index(self) -> tuple[NDArray[np.bytes_], NDArray[np.int32]]:
        """All videos, packed and sorted, and the number of the file that holds the row of each."""
        parts = [np.delete(ids, self._losers.get(name, [])) for name, ids in self._packed.items()]
        ids = np.concatenate([packed(np.empty(0, f"S{ID_BYTES}")), *parts])
        files = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part) for part in parts])
        order = np.argsort(ids, kind="stable")
        return ids[order], files[order]

    def _ids(self) -> Iterator[NDArray[np.bytes_]]:
        """The videos file by file, those that do not count as well, which are kept, packed."""
        for name in self._names:
            self._packed[name] = self._files.ids(name)
            yield unpacked(self._packed[name])

    def _part(self, name: str, schema: pa.Schema) -> pa.Table:
        try:
            part = self._read(name, schema)
        except MissingFile:
            part = self._folded(name, schema)
        losers = self._losers.get(name)
        return part if losers is None else part.take(pa.array(np.setdiff1d(np.arange(len(part)), losers)))

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        present = [column for column in schema.names if column in self._files.schema_of(name).names]
        return _fitted(self._files.part(name, present), schema)

    def _folded(self, name: str, schema: pa.Schema) -> pa.Table:
        """The rows, in their order, of a file that a run has since put together with others, at its end.

        Raises:
            MissingFile: they are in no other file either.
        """
        ids, since = self._packed[name], [each for each in self._files.names() if each not in self._packed]
        wanted = schema if "video_id" in schema.names else schema.append(PLAN.field("video_id"))
        rows = concat([self._read(each, wanted) for each in since], wanted)
        there = packed(id_bytes(rows["video_id"]))
        order = np.argsort(there, kind="stable")
        at = find_places(there[order], ids)
        if (at < 0).any():
            raise MissingFile(f"{self._files.uri(name)} is gone")
        return rows.take(pa.array(order[at])).select(schema.names)

    def _find_losers(self, contested: NDArray[np.bytes_]) -> dict[str, NDArray[np.int64]]:
        best: dict[bytes, tuple[tuple[bool, int], str, int]] = {}
        losers: dict[str, list[int]] = {}
        for name in self._names:
            part = self._files.part(name, ["video_id", "attempts", "reason"])
            ids = id_bytes(part["video_id"])
            rows = np.flatnonzero(find_places(contested, ids) >= 0)
            few = part.take(pa.array(rows))
            values = zip(few["attempts"].to_pylist(), few["reason"].to_pylist(), rows.tolist(), strict=True)
            for (attempts, reason, row), video in zip(values, ids[rows].tolist(), strict=True):
                # Less is better: a plan before a failure; the first plan, the last failure.
                rank = (reason is not None, attempts if reason is None else -attempts)
                mine, other = (rank, name, row), best.get(video)
                best[video] = mine if other is None or rank < other[0] else other
                if other is not None:
                    _, loser, loser_row = other if best[video] is mine else mine
                    losers.setdefault(loser, []).append(loser_row)
        return {name: np.array(rows) for name, rows in losers.items()}


def listed(dataset: Dataset) -> Ids | None:
    """The videos that the input last held; ``None``: that is not known."""
    try:
        return dataset.files.read_ours(LISTING, _listing)
    except MissingFile:
        return None


def publish_listed(dataset: Dataset, videos: Ids, *, shard: Shard, token: str) -> None:
    """Remember that the input holds these ``videos`` of the shard; about other shards' nothing changes."""
    while True:
        version = dataset.store.version(LISTING)
        ids = videos
        if shard.count > 1:
            known = listed(dataset)
            known = Planned(dataset).ids if known is None else known
            theirs = known.to_bytes()
            ids = Ids([videos.to_bytes(), theirs[~in_shard(theirs, shard)]])
        data = _listing_bytes(ids)
        if dataset.files.fence(token).replace(LISTING, data, version=version):
            return


def replace_listed(dataset: Dataset, replaced: Mapping[str, str], *, token: str) -> None:
    """Remember that the input holds other videos in the place of some, which ``replaced`` gives by the ids of these."""
    while replaced:
        version = dataset.store.version(LISTING)
        known = listed(dataset)
        if known is None:
            return
        current = {video_id for part in known.to_arrow() for video_id in part.to_pylist()}
        ids = pa.array(sorted({replaced.get(video_id, video_id) for video_id in current}), pa.string())
        data = parquet_bytes(pa.table({"video_id": ids}))
        if current.isdisjoint(replaced) or dataset.files.fence(token).replace(LISTING, data, version=version):
            return


def _rows(file: pa.NativeFile, columns: Sequence[str] | None) -> pa.Table:
    parquet = pq.ParquetFile(file)
    names = earlier_versions.plan_names(parquet.schema_arrow)
    wanted = names if columns is None else columns
    return earlier_versions.plan_table(parquet.read([names[column] for column in wanted]))


def _listing(file: pa.NativeFile) -> Ids:
    batches = pq.ParquetFile(file).iter_batches(columns=["video_id"])
    return Ids(id_bytes(pa.chunked_array([batch["video_id"]])) for batch in batches)


def _listing_bytes(ids: Ids) -> bytes:
    """The listing as a file, written some ten thousand videos at a time."""
    sink, schema = pa.BufferOutputStream(), pa.schema([("video_id", pa.string())])
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for part in ids.to_arrow():
            writer.write_table(pa.Table.from_arrays([part], schema=schema))
    return bytes(sink.getvalue())


def _united(schemas: Sequence[pa.Schema]) -> pa.Schema:
    fields: dict[str, pa.Field] = {field.name: field for field in PLAN}
    for schema in schemas:
        for field in schema:
            known = fields.setdefault(field.name, field)
            if known.type != field.type and field.name not in PLAN.names:
                fields[field.name] = pa.field(field.name, _wider(known.type, field.type))
    return pa.schema([field.remove_metadata() for field in fields.values()])


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    try:
        return pa.unify_schemas(
            [pa.schema([("x", one)]), pa.schema([("x", other)])], promote_options="permissive"
        ).field("x").type  # fmt: skip
    except pa.ArrowTypeError:
        return pa.string()


def _fitted(part: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        _cast(part[field.name], field.type) if field.name in part.column_names else pa.nulls(len(part), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind, safe=not pa.types.is_floating(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists and structs have no text of Arrow's
        return pa.chunked_array([pa.array([_text(value) for value in column.to_pylist()], pa.string())])


def _text(value: object) -> str | None:
    return None if value is None else str(value)
