"""A trained head as what gives rows probabilities of labels: row by row, or by the units of a video."""

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.video_features import LakeFeatures
from pipeline.models.heads.head import Head
from pipeline.models.heads.registry import HeadAddress, Heads
from pipeline.records.units import VideoSamples


class HeadLabels:
    """A head that fits the features of a lake.

    Attributes:
        labels: in the order of its answers.
        name: what it is called, with its version.
    """

    def __init__(self, head: Head, *, name: str) -> None:
        self.labels: tuple[str, ...] = tuple(head.info.labels)
        self.name = name
        self._head = head

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of rows, each by itself: ``float32[N, labels]``."""
        return self._head.frames(features)


class HeadUnits(HeadLabels):
    """A head whose answers need the samples of a unit together."""

    def of_video(self, features: NDArray[np.float32], samples: VideoSamples) -> NDArray[np.float32]:
        """Of the rows of a video, each by the units that it is part of: ``float32[N, labels]``, the most probable."""
        answers = self._head.answer(features, samples)
        best = np.zeros((len(samples), len(self.labels)), np.float32)
        for begin, end, row in zip(answers.units.begin, answers.units.end, answers.probabilities, strict=True):
            np.maximum(best[begin:end], row, out=best[begin:end])
        return best


def head_labels(head: Head, *, name: str) -> HeadLabels:
    """What a head gives rows."""
    return HeadLabels(head, name=name) if head.info.is_each_sample_alone else HeadUnits(head, name=name)


def head_labels_at(address: str, *, lake: str) -> HeadLabels:
    """The head at ``HEADS/NAME`` or ``HEADS/NAME@VERSION``.

    Raises:
        UsageError: there is none, or it takes other features than those of the lake.
        StorageError: a store failed.
    """
    parsed = HeadAddress.parse(address)
    loaded = Heads(backend_at(parsed.heads).store).load(parsed.name, parsed.version)
    LakeFeatures.at(lake).require_fit(loaded.head.info, head=str(loaded))
    return head_labels(loaded.head, name=str(loaded))
