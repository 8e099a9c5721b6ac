"""What all streams of one host share, and how they reach the model."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.dataset import DatasetInfo


class Embed(Protocol):
    """The way to the model: the caller of ``Streams`` hands it over, so that nothing here knows where the model runs.

    It is pickled and called inside every stream's actor, on that actor's event loop, several times at once; whoever
    answers fills batches over streams. ``watch`` hands over an actor with the ``Embedder``, ``serve`` the batcher of
    its replica.
    """

    def __call__(self, picture: NDArray[np.uint8], /) -> Awaitable[NDArray[np.float32]]:
        """Turn a model input ``uint8[h, w, 3]``, prepared as the batch job prepares it, into ``float32[D]``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What is the same for every stream of one host."""

    lake: str
    """Where rows go."""
    info: DatasetInfo
    """The configuration that the lake has, or gets by the first stream."""
    embed: Embed
    heads: str | None = None
    """The folder or address of the heads, where a stream has one."""
    commit_s: float = 10.0
    """How much a kill may cost."""
    publish_s: float = 1800.0
    """How often what is journalled becomes files."""
    keep_s: float | None = None
    """How long recordings are kept; ``None``: for ever."""
    stall_s: float = 10.0
    """Without a picture for so long, the connection is given up."""
    detect_weights: str | None = None
    """Of the detectors that are networks; ``None``: their library's own."""
    detectors_have_gpu: bool = False
    """Whether such a network gets a share of a GPU."""
