"""The videos of a dataset as they are now: listed, searched by name, and one by one."""

import threading
import time
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset, DatasetInfo
from pipeline.lake.live import readers
from pipeline.lake.live.session_rows import SessionRow
from pipeline.lake.live.view import LiveLake
from pipeline.lake.model_folders import existing_dataset
from pipeline.lake.planned import Planned
from pipeline.lake.video_features import LakeFeatures
from pipeline.records.documents import Document
from pipeline.records.ids import id_bytes
from pipeline.records.tables import QUARANTINE, VIDEOS
from pipeline.records.units import VideoSamples

_LISTED = ("video_id", "uri", "status", "duration_s", "num_samples", "codec", "width", "height", "creation_time")
_AS_IT_WAS_S = 2.0
"""How long a look at the lake holds: the files are not listed anew for every request of a page."""


class NoSuchVideo(UsageError):
    """The lake does not hold the video that is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows of many."""

    num_rows: int
    """In all."""
    rows: list[Document]


class Snapshot:
    """What a dataset held at one moment."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @cached_property
    def sessions(self) -> dict[str, SessionRow]:
        """The sessions of streams by their ids, those that go on included."""
        return LiveLake(self.dataset, self.dataset.existing()).sessions

    @cached_property
    def videos(self) -> pa.Table:
        """The table ``videos``, with the further columns of the manifests, and sessions as they are now; by ``uri``."""
        table = _read(self.dataset, VIDEOS.name, VIDEOS.schema)
        if self.sessions:
            is_session = pc.is_in(table["video_id"], pa.array(sorted(self.sessions)))
            rows = pa.Table.from_pylist([row.to_row() for row in self.sessions.values()], schema=VIDEOS.schema)
            table = pa.concat_tables([table.filter(pc.invert(is_session)), rows], promote_options="permissive")
        return table.sort_by([("uri", "ascending"), ("captured_from", "ascending")])

    @cached_property
    def quarantine(self) -> pa.Table:
        """The table ``quarantine``, sorted by ``uri`` and time."""
        table = _read(self.dataset, QUARANTINE.name, QUARANTINE.schema)
        return table.sort_by([("uri", "ascending"), ("start_s", "ascending")])

    @cached_property
    def features(self) -> LakeFeatures:
        """Where the rows of each video lie."""
        return LakeFeatures.at(self.dataset.store.uri)

    @cached_property
    def planned(self) -> Planned:
        """How each video was cut."""
        return Planned(self.dataset)


class LakeView:
    """One dataset, looked at again and again while it grows. For any thread.

    Attributes:
        uri: of the dataset.
        info: how it was made.
    """

    def __init__(self, uri: str) -> None:
        """Look at the dataset at ``uri``.

        Raises:
            UsageError: there is none, or a folder of several.
        """
        self._dataset = existing_dataset(uri, command="serve --lake")
        self.uri = self._dataset.store.uri
        self.info: DatasetInfo = self._dataset.existing()
        self._lock = threading.Lock()
        self._looked_at = -_AS_IT_WAS_S
        self._versions: object = None
        self._snapshot = Snapshot(self._dataset)

    @property
    def now(self) -> Snapshot:
        """What the dataset holds, as it was at most two seconds ago.

        Raises:
            StorageError: the store failed.
        """
        with self._lock:
            if time.monotonic() - self._looked_at >= _AS_IT_WAS_S:
                store = self._dataset.store
                versions = [store.versions(name) for name in (VIDEOS.name, QUARANTINE.name)]
                found = (versions, self._dataset.features.names())
                if found != self._versions or self._snapshot.sessions:  # what comes of a stream is in no file at first
                    self._snapshot, self._versions = Snapshot(self._dataset), found
                self._looked_at = time.monotonic()
            return self._snapshot

    def videos(self, *, text: str = "", offset: int = 0, limit: int = 100) -> Page:
        """Those videos that are current and in whose address ``text`` stands, whatever its case."""
        table = self.now.videos
        mask = pc.fill_null(table["is_current"], True)
        if text:
            mask = pc.and_(mask, pc.match_substring(table["uri"], text, ignore_case=True))
        return _page(table.select([name for name in _LISTED if name in table.column_names]).filter(mask), offset, limit)

    def video(self, video_id: str) -> Document:
        """All that the table ``videos`` says of one.

        Raises:
            NoSuchVideo: the lake does not hold it.
        """
        table = self.now.videos
        rows: list[Document] = table.filter(pc.equal(table["video_id"], video_id)).to_pylist()
        if not rows:
            raise NoSuchVideo(f"{self.uri} holds no video {video_id[:40]!r}")
        return _plain(rows[0])

    def has_video(self, video_id: str) -> bool:
        """Whether the lake holds it."""
        return bool(pc.any(pc.equal(self.now.videos["video_id"], video_id)).as_py())

    def samples(self, video_id: str) -> VideoSamples:
        """When the samples of a video are shown.

        Raises:
            NoSuchVideo: the lake does not hold it.
        """
        self.video(video_id)
        if video_id in self.now.sessions:
            return _live_samples(self.uri, video_id)
        features = self.now.features
        ids = id_bytes(pa.chunked_array([[video_id]]))
        if not features.num_samples(ids)[0]:
            empty = np.empty(0)
            return VideoSamples(epochs=empty.astype(np.int32), pts=empty.astype(np.int64), times_s=empty, end_s=None)
        [read] = features.read(ids, with_features=False)
        return read.samples

    def quarantine(self, *, reason: str | None = None, offset: int = 0, limit: int = 100) -> Page:
        """What failed, or what failed for a reason."""
        table = self.now.quarantine
        return _page(table if reason is None else table.filter(pc.equal(table["reason"], reason)), offset, limit)

    def reasons(self) -> dict[str, int]:
        """How often something failed for each reason."""
        counted = pc.value_counts(self.now.quarantine["reason"]).to_pylist()
        return dict(sorted((each["values"], each["counts"]) for each in counted))


def _live_samples(uri: str, video_id: str) -> VideoSamples:
    """Those of a session, journal and files as one."""
    columns = ["epoch", "pts", "time_s"]
    schema = pa.schema([("epoch", pa.int32()), ("pts", pa.int64()), ("time_s", pa.float64())])
    parts = [part.cast(schema) for part in readers.rows(uri, video_id=video_id, columns=columns)]
    table = pa.concat_tables([schema.empty_table(), *parts]).sort_by([("epoch", "ascending"), ("pts", "ascending")])
    epochs, pts, times_s = (table[name].to_numpy() for name in columns)
    return VideoSamples(epochs=epochs, pts=pts, times_s=times_s, end_s=None)


def _page(table: pa.Table, offset: int, limit: int) -> Page:
    return Page(num_rows=len(table), rows=[_plain(row) for row in table.slice(offset, limit).to_pylist()])


def _plain(row: Document) -> Document:
    """A row as JSON can hold it: a manifest may bring columns of any type."""
    return {
        name: value if value is None or isinstance(value, str | int | float) else _text(value)
        for name, value in row.items()
    }


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _read(dataset: Dataset, name: str, schema: pa.Schema) -> pa.Table:
    """A derived table whole, one row for a video of an archive: some hundred bytes each."""
    files = dataset.files
    parts = [
        files.read_ours(part, lambda file: pq.ParquetFile(file).read().replace_schema_metadata(None))
        for part in files.tables(name)
    ]
    return pa.concat_tables([schema.empty_table(), *parts], promote_options="permissive")
