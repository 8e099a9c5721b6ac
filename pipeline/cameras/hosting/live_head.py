"""A head beside a stream: what it says of the newest sample, by the version that is in use."""

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.rules.head_answers import Answer, RollingHead, require_for_streams
from pipeline.errors import RunError
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.publishing.backends import backend_at
from pipeline.models.heads.registry import Heads, LoadedVersion


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
        loaded = self._load()
        self._version = loaded.version
        self._rolling = RollingHead(loaded.head)

    def look(self) -> None:
        """Take up another version if one is in use by now; where that fails, the loaded one stays."""
        try:
            if self._heads.current(self._name) not in (None, self._version):
                loaded = self._load()
                self._version, self._rolling.head = loaded.version, loaded.head
        except RunError:
            return

    def answer(self, feature: NDArray[np.float32], time_s: float) -> Answer | None:
        """Label and probability of the unit that ends with this sample of a session.

        Args:
            feature: ``float32[D]``.
            time_s: from the session's first frame; where it falls, another session has begun.
        """
        return self._rolling.answer(feature, time_s)

    def _load(self) -> LoadedVersion:
        loaded = self._heads.load(self._name)
        require_for_streams(loaded.head, name=self._name, info=self._info)
        return loaded
