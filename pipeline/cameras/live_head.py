"""A head beside a stream: what it says of the newest sample, or of the last seconds up to it."""

from collections import deque
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RunError, UsageError
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.publishing.backends import backend_at
from pipeline.models.heads.registry import Heads, LoadedVersion
from pipeline.records.units import Units

_PER_SECOND = 10**6


class WatchingHead:
    """The version of a head that is in use, and the features that it looks back to."""

    def __init__(self, folder: str, name: str, *, info: DatasetInfo) -> None:
        """Load it.

        Raises:
            UsageError: there is no such head, it takes other features than the lake has, or answers for whole videos.
            StorageError: the store failed.
        """
        self._heads = Heads(backend_at(folder).store)
        self._name = name
        self._info = info
        self._loaded = self._load()
        self._kept: deque[tuple[int, NDArray[np.float32]]] = deque()
        """Of each sample its time in microseconds, which unlike seconds are exact, and its feature."""

    def look(self) -> None:
        """Take up another version if one is in use by now; where that fails, the loaded one stays."""
        try:
            if self._heads.current(self._name) not in (None, self._loaded.version):
                self._loaded = self._load()
        except RunError:
            return

    def answer(self, feature: NDArray[np.float32], time_s: float) -> tuple[str, float] | None:
        """Label and probability of the unit that ends with this sample of a session.

        Args:
            feature: ``float32[D]``.
            time_s: from the session's first frame; where it falls, another session has begun.
        """
        head, time_us = self._loaded.head, round(time_s * _PER_SECOND)
        if self._kept and time_us <= self._kept[-1][0]:
            self._kept.clear()
        if head.info.is_each_sample_alone:
            return self._best(head.frames(feature[None]))
        self._kept.append((time_us, feature))
        num_before = self._let_go(time_us)
        rows = np.stack([kept for _, kept in self._kept])
        unit = Units(
            begin=np.array([num_before], np.int64),
            end=np.array([len(rows)], np.int64),
            time_s=np.zeros(1),
            end_s=np.zeros(1),
        )
        return self._best(head.of_units(rows, unit, runs=np.zeros(len(rows), np.int64)))

    def _let_go(self, time_us: int) -> int:
        """Forget what the head no longer looks at; returns how many of the rest lie before its unit."""
        info = self._loaded.head.info
        start_us = time_us - round(info.unit.length_s * _PER_SECOND)

        def num_old() -> int:
            older = sum(1 for _ in takewhile(lambda kept: kept[0] <= start_us, self._kept))
            return min(older, len(self._kept) - 1)

        while num_old() > info.steps.count("delta"):
            self._kept.popleft()
        return num_old()

    def _best(self, probabilities: NDArray[np.float32]) -> tuple[str, float]:
        labels = self._loaded.head.info.labels
        best = int(probabilities[0].argmax())
        return labels[best], float(probabilities[0][best])

    def _load(self) -> LoadedVersion:
        loaded = self._heads.load(self._name)
        info, config = loaded.head.info, self._info.config
        if [backbone.fingerprint for backbone in info.backbones] != [config.fingerprint]:
            raise UsageError(
                f"--head {self._name}: it takes other features than those of {config.model.name} in {config.precision}"
            )
        if info.unit.kind == "video":
            raise UsageError(f"--head {self._name}: it answers for whole videos, and a stream never ends")
        return loaded
