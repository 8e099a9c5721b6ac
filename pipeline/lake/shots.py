"""The shots that a lake knows: what the sampling rule ``shots:N`` goes by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.planned import Planned
from pipeline.media.sampling.footage import ShotSpan
from pipeline.records.ids import Ids, id_bytes
from pipeline.records.shots import SHOTS

_FOLDER = "_vidlake/shots"
_COLUMNS = ["video_id", "shot", "start_pts", "end_pts", "num_frames"]


def predictions_at(uri: str) -> Dataset:
    """What is said of each frame of the videos whose shots are in the lake at ``uri``: a dataset by itself."""
    return Dataset.at(f"{uri.rstrip('/')}/{_FOLDER}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownShots:
    """The table ``shots`` of a lake."""

    uri: str

    def require_any(self, inputs: Sequence[str]) -> None:
        """Make sure that there is such a table, before anything is begun.

        Raises:
            UsageError: there is none; the message says how it is made.
        """
        if not Dataset.at(self.uri).files.tables(SHOTS):
            raise UsageError(f"there are no shots at {self.uri}: {self._advice(' '.join(inputs))}")

    def require(self, videos: pa.Table) -> None:
        """Make sure that the shots of these videos are known, rows with ``video_id`` and ``uri``.

        A video that could not be planned for finding shots has none: it will fail here as well.

        Raises:
            UsageError: some are not; the first one is named, and how they are made.
        """
        ids = id_bytes(videos["video_id"])
        missing = ~Ids([self._ids()]).mask(videos["video_id"])
        if missing.any():
            missing &= ~np.isin(ids, self._failed())
        if missing.any():
            first = videos["uri"][int(np.flatnonzero(missing)[0])].as_py()
            raise UsageError(f"the shots of {first} are not known at {self.uri}: {self._advice(first)}")

    def of_videos(self, ids: Sequence[str]) -> dict[str, tuple[ShotSpan, ...]]:
        """The shots of each of these videos that is known, in their order."""
        files = Dataset.at(self.uri).files
        wanted = pa.array(ids, pa.string())
        found: dict[str, tuple[ShotSpan, ...]] = {}
        for name in files.tables(SHOTS):
            rows = files.read_ours(name, lambda file: pq.ParquetFile(file).read(_COLUMNS))
            rows = rows.filter(pc.is_in(rows["video_id"], wanted))
            rows = rows.sort_by([("video_id", "ascending"), ("shot", "ascending")])
            for video_id in pc.unique(rows["video_id"]).to_pylist():
                found[video_id] = _spans(rows.filter(pc.equal(rows["video_id"], video_id)))
        return found

    def _ids(self) -> "np.ndarray[tuple[int], np.dtype[np.bytes_]]":
        files = Dataset.at(self.uri).files
        parts = [
            id_bytes(files.read_ours(name, lambda file: pq.ParquetFile(file).read(["video_id"])["video_id"]))
            for name in files.tables(SHOTS)
        ]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, "S1")

    def _failed(self) -> "np.ndarray[tuple[int], np.dtype[np.bytes_]]":
        parts = [
            id_bytes(part["video_id"].filter(pc.is_valid(part["reason"])))
            for _, part in Planned(predictions_at(self.uri)).parts(["video_id", "reason"])
        ]
        return np.concatenate(parts) if parts else np.empty(0, "S1")

    def _advice(self, what: str) -> str:
        return f"find them by `vidlake shots {what} --out {self.uri}`, or give --shots"


def _spans(rows: pa.Table) -> tuple[ShotSpan, ...]:
    num_frames = rows["num_frames"].to_numpy()
    first_frames = np.cumsum(num_frames) - num_frames
    values = zip(rows["start_pts"].to_pylist(), rows["end_pts"].to_pylist(), strict=True)
    return tuple(
        ShotSpan(start_pts=start, end_pts=end, first_frame=int(first), num_frames=int(count))
        for (start, end), first, count in zip(values, first_frames, num_frames, strict=True)
    )
