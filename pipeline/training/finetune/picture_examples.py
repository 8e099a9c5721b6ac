"""The labelled pictures of a training: where each lies, its label, and its part."""

import hashlib
import json
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.lake.ids import ID_BYTES, id_bytes
from pipeline.lake.video_features import LakeFeatures
from pipeline.records.documents import Document
from pipeline.records.periods import Period
from pipeline.records.tables import QUARANTINE
from pipeline.records.units import Unit
from pipeline.training.examples import PARTS
from pipeline.training.finetune.pictures import Places
from pipeline.training.labels.label_rows import LabelRows
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.labels.report import LabelReport
from pipeline.training.request import LabelOptions, SplitOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureExamples:
    """The labelled pictures of a dataset of inputs, N of them, in the order of their places."""

    report: LabelReport
    labels: tuple[str, ...]
    places: Places
    targets: NDArray[np.int64]
    """``int64[N]``: the place of each picture's label in ``labels``."""
    parts: NDArray[np.int8]
    """``int8[N]``: places in ``PARTS``."""

    @classmethod
    def of(cls, inputs_uri: str, rows: LabelRows, *, options: LabelOptions, split: SplitOptions) -> Self:
        """Find the labelled pictures of a dataset of inputs.

        Raises:
            UsageError: labels contradict each other, or a class has nothing to train on.
            StorageError: the store failed.
        """
        lake = LakeFeatures.at(inputs_uri)
        unit = Unit.parse("frame")
        examples = LakeExamples.of(
            lake, rows, options=options, split=split, unit=unit, period=Period(), finds_twins=False
        )
        examples.report.check()
        places, targets, parts = _placed(examples, _Index.of(lake.datasets[0]))
        return cls(report=examples.report, labels=examples.labels, places=places, targets=targets, parts=parts)

    def digest(self, settings: Document) -> str:
        """Of all that a training follows from: these pictures and labels, and how they are learned."""
        digest = hashlib.sha256(json.dumps([settings, self.labels, self.places.files]).encode())
        for values in (self.places.file, self.places.row, self.targets, self.parts):
            digest.update(values.tobytes())
        return digest.hexdigest()

    def num(self, part: str) -> int:
        """Pictures of a part."""
        return int((self.parts == PARTS.index(part)).sum())

    @property
    def commonest(self) -> str:
        """The commonest label of training."""
        return self.labels[int(self._training_counts().argmax())]

    def class_weights(self) -> tuple[float, ...]:
        """What an error on each label counts, so that all labels count the same however rare they are."""
        counts = self._training_counts()
        return tuple((counts.sum() / (len(counts) * counts)).tolist())

    def _training_counts(self) -> NDArray[np.int64]:
        return np.bincount(self.targets[self.parts == PARTS.index("train")], minlength=len(self.labels))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """Where each sample of each video lies, sorted by video, epoch and pts."""

    files: tuple[str, ...]
    videos: NDArray[np.bytes_]
    file: NDArray[np.int64]
    row: NDArray[np.int64]

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Read the keys of all rows, and no picture."""
        files = tuple(dataset.features.names())
        keys = [dataset.files.read_ours(name, _keys) for name in files]
        videos = np.concatenate([np.empty(0, f"S{ID_BYTES}"), *(id_bytes(part["video_id"]) for part in keys)])
        epochs, pts = (
            np.concatenate([np.empty(0, np.int64), *(part[name].to_numpy() for part in keys)])
            for name in ("epoch", "pts")
        )
        file = np.repeat(np.arange(len(files)), [len(part) for part in keys])
        row = np.concatenate([np.empty(0, np.int64), *(np.arange(len(part)) for part in keys)])
        order = np.lexsort((pts, epochs, videos))
        return cls(files=files, videos=videos[order], file=file[order], row=row[order])

    def places(self, video_id: str) -> NDArray[np.int64]:
        """``int64[T, 2]``: file and row of each sample of a video, in the order of (``epoch``, ``pts``)."""
        begin, end = (np.searchsorted(self.videos, video_id.encode(), side=side) for side in ("left", "right"))
        return np.stack([self.file[begin:end], self.row[begin:end]], axis=1)


def unusable_videos(inputs: Dataset) -> dict[str, str]:
    """The videos of which something could not be decoded, with the first reason of each, by their uris."""
    reasons: dict[str, str] = {}
    for name in inputs.files.tables(QUARANTINE.name):
        rows = inputs.files.read_ours(name, lambda file: pq.ParquetFile(file).read(["uri", "reason"]))
        for row in rows.to_pylist():
            reasons.setdefault(row["uri"], row["reason"])
    return dict(sorted(reasons.items()))


def _placed(examples: LakeExamples, index: _Index) -> tuple[Places, NDArray[np.int64], NDArray[np.int8]]:
    """Each labelled sample's place, label and part, in the order of the places."""
    found = [np.empty((0, 4), np.int64)]
    for video in examples.times():
        # A unit is a sample: it begins at the sample's number.
        where = index.places(video.video_id)[video.units.begin]
        found.append(np.column_stack([where, video.targets.argmax(axis=1), video.parts]))
    rows = np.concatenate(found)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    places = Places(files=index.files, file=rows[:, 0].astype(np.int32), row=rows[:, 1].astype(np.int32))
    return places, rows[:, 2], rows[:, 3].astype(np.int8)


def _keys(file: pa.NativeFile) -> pa.Table:
    return pq.ParquetFile(file).read(["video_id", "epoch", "pts"])
