"""What runs on Ray's workers for ``predict``: work in, how much was done out. Free of Ray itself.

Heads are torch's, whose import takes seconds: they are imported by those that predict, once they do.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.extract.results import PredictedPart
from pipeline.lake.appended import Appended
from pipeline.lake.files import DatasetFiles
from pipeline.lake.pending_frames import FramePiece
from pipeline.lake.predicted_videos import VideoWork, publish_videos
from pipeline.records.tables import Table

if TYPE_CHECKING:
    from pipeline.models.heads.head import Head

Work = Sequence[FramePiece] | Sequence[VideoWork]

_PARTS = pa.schema(
    [
        ("num_samples", pa.int64()),
        ("num_units", pa.int64()),
        ("num_bytes", pa.int64()),
        ("label_counts", pa.list_(pa.int64())),
        ("is_refused", pa.bool_()),
    ]
)


_TASK_SAMPLES = 65_536
_TASKS_PER_WORKER = 4


@dataclass(frozen=True, slots=True)
class HeadBytes:
    """A head on its way to the workers, who need not see the folder that it lies in: its files by their names."""

    uri: str
    content: tuple[tuple[str, bytes], ...]

    def folders(self, folder: str) -> list[str]:
        """None: it is a single version."""
        return []

    def version(self, name: str) -> str | None:
        """As ``HeadFiles.version``: the files never change."""
        return "1" if name in dict(self.content) else None

    def read(self, name: str) -> bytes:
        """A file's content."""
        return dict(self.content)[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicting:
    """What every task is given: the head, where features are read, and where predictions go under which token."""

    head: HeadBytes
    features: tuple[DatasetFiles, ...]
    target: DatasetFiles
    table: Table
    token: str


def work_blocks(work: Work, *, num_workers: int) -> list[pa.Table]:
    """Blocks of one or several parts of the work, as ``predict_block`` takes them; a block is a task.

    A task costs the driver milliseconds, and so should be some work, but all workers should end at about the same time.
    """
    sizes = np.array([part.num_samples for part in work], np.int64)
    size = max(1, min(_TASK_SAMPLES, int(sizes.sum()) // (_TASKS_PER_WORKER * num_workers)))
    edges = np.flatnonzero(np.diff((np.cumsum(sizes) - sizes) // size)) + 1
    rows = pa.table({"work": pa.array([pickle.dumps(part) for part in work], pa.large_binary())})
    return [rows.slice(begin, end - begin) for begin, end in pairwise([0, *edges.tolist(), len(work)])]


def predict_block(block: pa.Table, *, predicting: Predicting) -> Iterator[pa.Table]:
    """Predict and publish parts of the work; what was done comes back as rows that ``parts_of`` reads."""
    head = _head(predicting.head)
    for part in block["work"].to_pylist():
        yield pa.Table.from_pylist([asdict(_predict(pickle.loads(part), head, predicting))], schema=_PARTS)


def parts_of(rows: pa.Table) -> list[PredictedPart]:
    """What ``predict_block`` tells."""
    return [PredictedPart(**{**row, "label_counts": tuple(row["label_counts"])}) for row in rows.to_pylist()]


def _predict(work: FramePiece | VideoWork, head: "Head", predicting: Predicting) -> PredictedPart:
    from pipeline.stages.predict import predict_frames, predict_videos

    table, target = predicting.table, predicting.target
    written: int | None
    if isinstance(work, FramePiece):
        [files] = predicting.features
        rows = predict_frames(work, head, files=files, schema=table.schema)
        written = Appended(target, table.name).publish(rows, work.entries(), token=predicting.token)
    else:
        states = [state for group in work.groups for state in group.states]
        rows, videos = predict_videos(work.groups, states, head, files=predicting.features, schema=table.schema)
        written = publish_videos(target, table, rows, videos, replaced=work.replaced, token=predicting.token)
    counts = {each["values"]: each["counts"] for each in pc.value_counts(rows["label"]).to_pylist()}
    return PredictedPart(
        num_samples=work.num_samples,
        num_units=len(rows),
        num_bytes=written or 0,
        label_counts=tuple(counts.get(label, 0) for label in head.info.labels),
        is_refused=written is None,
    )


@lru_cache(maxsize=1)
def _head(content: HeadBytes) -> "Head":
    """The head of this worker process, kept from task to task."""
    from pipeline.models.heads.artifact import read_head

    return read_head(content, "")
