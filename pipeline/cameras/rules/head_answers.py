"""What a head says of a stream's samples, one after the other: of each alone, or of the last seconds up to it."""

from collections import deque
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.lake.dataset import DatasetInfo
from pipeline.models.heads.head import Head
from pipeline.records.units import Units

_PER_SECOND = 10**6

Answer = tuple[str, float]
"""The most probable label, and its probability."""


class RollingHead:
    """A head, and the features of one session that it looks back to."""

    def __init__(self, head: Head) -> None:
        self.head = head
        """It may be exchanged for another version of the same kind."""
        self._kept: deque[tuple[int, NDArray[np.float32]]] = deque()
        """Of each sample its time in microseconds, which unlike seconds are exact, and its feature."""

    def answer(self, feature: NDArray[np.float32], time_s: float) -> Answer:
        """Label and probability of the unit that ends with this sample.

        Args:
            feature: ``float32[D]``.
            time_s: from the session's first frame; where it falls, another session has begun.
        """
        head, time_us = self.head, round(time_s * _PER_SECOND)
        if self._kept and time_us <= self._kept[-1][0]:
            self._kept.clear()
        if head.info.is_each_sample_alone:
            return answers_of(head, head.frames(feature[None]))[0]
        self._kept.append((time_us, feature))
        num_before = self._let_go(time_us)
        rows = np.stack([kept for _, kept in self._kept])
        unit = Units(
            begin=np.array([num_before], np.int64),
            end=np.array([len(rows)], np.int64),
            time_s=np.zeros(1),
            end_s=np.zeros(1),
        )
        return answers_of(head, head.of_units(rows, unit, runs=np.zeros(len(rows), np.int64)))[0]

    def _let_go(self, time_us: int) -> int:
        """Forget what the head no longer looks at; returns how many of the rest lie before its unit."""
        info = self.head.info
        start_us = time_us - round(info.unit.length_s * _PER_SECOND)

        def num_old() -> int:
            older = sum(1 for _ in takewhile(lambda kept: kept[0] <= start_us, self._kept))
            return min(older, len(self._kept) - 1)

        while num_old() > info.steps.count("delta"):
            self._kept.popleft()
        return num_old()


def answers_of(head: Head, probabilities: NDArray[np.float32]) -> list[Answer]:
    """What probabilities ``float32[N, C]`` say: the best label of each row."""
    best = probabilities.argmax(axis=1).tolist()
    return [(head.info.labels[label], float(row[label])) for label, row in zip(best, probabilities, strict=True)]


def require_for_streams(head: Head, *, name: str, info: DatasetInfo) -> None:
    """Make sure that a head can answer for the samples of a lake's streams.

    Raises:
        UsageError: it takes other features than the lake has, or answers for whole videos.
    """
    config = info.config
    if [backbone.fingerprint for backbone in head.info.backbones] != [config.fingerprint]:
        raise UsageError(
            f"--head {name}: it takes other features than those of {config.model.name} in {config.precision}"
        )
    if head.info.unit.kind == "video":
        raise UsageError(f"--head {name}: it answers for whole videos, and a stream never ends")
