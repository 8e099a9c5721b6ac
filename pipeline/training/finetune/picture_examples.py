"""The labelled pictures of a training: where each lies, its label, and its part."""

import hashlib
import json
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.lake.dataset import Dataset
from pipeline.records.documents import Document
from pipeline.records.periods import Period
from pipeline.records.tables import QUARANTINE
from pipeline.records.units import Unit
from pipeline.training.examples import PARTS
from pipeline.training.finetune.sample_places import SamplePlaces, Thumbnails
from pipeline.training.labels.label_rows import LabelRows
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.labels.report import LabelReport
from pipeline.training.request import LabelOptions, SplitOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureExamples:
    """The labelled pictures of a dataset of inputs, N of them, in the order of video, epoch and pts."""

    report: LabelReport
    labels: tuple[str, ...]
    samples: SamplePlaces
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
        lake = Thumbnails.at(inputs_uri)
        examples = LakeExamples.of(lake, rows, options=options, split=split, unit=Unit.parse("frame"), period=Period())
        examples.report.check()
        numbers, targets, parts = _numbered(examples, lake.samples)
        samples = lake.samples.take(numbers)
        return cls(report=examples.report, labels=examples.labels, samples=samples, targets=targets, parts=parts)

    def digest(self, settings: Document) -> str:
        """Of all that a training follows from: these pictures and labels, and how they are learned.

        In which files the pictures lie is no part of it.
        """
        digest = hashlib.sha256(json.dumps([settings, self.labels]).encode())
        for values in (self.samples.videos, self.samples.epochs, self.samples.pts, self.targets, self.parts):
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


def unusable_videos(inputs: Dataset) -> dict[str, str]:
    """The videos of which something could not be decoded, with the first reason of each, by their uris."""
    reasons: dict[str, str] = {}
    for name in inputs.files.tables(QUARANTINE.name):
        rows = inputs.files.read_ours(name, lambda file: pq.ParquetFile(file).read(["uri", "reason"]))
        for row in rows.to_pylist():
            reasons.setdefault(row["uri"], row["reason"])
    return dict(sorted(reasons.items()))


def _numbered(
    examples: LakeExamples, samples: SamplePlaces
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    """The number, the label and the part of each labelled sample, by increasing numbers."""
    found = [np.empty((0, 3), np.int64)]
    for video in examples.times():
        # A unit is a sample: it begins at the sample's number within the video.
        numbers = samples.numbers_of(video.video_id)[video.units.begin]
        found.append(np.column_stack([numbers, video.targets.argmax(axis=1), video.parts]))
    rows = np.concatenate(found)
    rows = rows[np.argsort(rows[:, 0])]
    return rows[:, 0], rows[:, 1], rows[:, 2].astype(np.int8)
