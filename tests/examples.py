"""Labelled units for tests of training, made of arrays instead of a lake."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from heads import samples
from numpy.typing import NDArray
from typing_extensions import override

from pipeline.records.units import Unit, Units
from pipeline.training.examples import PARTS, Examples, VideoExamples
from pipeline.training.fitting.fitted import Checkpoints


def video(
    features: NDArray[np.float32],
    labels: NDArray[Any],
    *,
    part: str | Sequence[str] = "train",
    unit: str = "frame",
    num_labels: int = 3,
    uri: str = "a.mp4",
    epochs: tuple[int, ...] = (),
    group: int = 0,
) -> VideoExamples:
    """A video whose units have the label of their first sample; -1: none.

    Args:
        features: ``float32[T, D]``.
        labels: ``int64[T]``, or ``bool[T, C]`` where several may hold.
        part: of the video, or of each unit that has a label.
        unit: as ``--unit`` has it.
        num_labels: how many there are.
        uri: of the video.
        epochs: where another epoch begins.
        group: of the video.
    """
    times = samples(len(features), epochs=epochs)
    units = Unit.parse(unit).of(times)
    first = labels[units.begin]
    chosen = np.arange(len(units)) if labels.ndim > 1 else np.flatnonzero(first >= 0)
    targets = first.astype(np.float32) if labels.ndim > 1 else np.eye(num_labels, dtype=np.float32)[first[chosen]]
    parts = [part] * len(chosen) if isinstance(part, str) else part
    return VideoExamples(
        video_id=uri,
        uri=uri,
        samples=times,
        features=features,
        units=Units(
            begin=units.begin[chosen], end=units.end[chosen], time_s=units.time_s[chosen], end_s=units.end_s[chosen]
        ),
        targets=targets,
        parts=np.array([PARTS.index(name) for name in parts], np.int8),
        groups=np.full(len(chosen), group, np.int64),
    )


def examples(*videos: VideoExamples) -> Examples:
    """The same videos with each reading."""

    def read() -> Iterator[VideoExamples]:
        yield from videos

    return read


def blobs(num: int, *, seed: int = 0, num_labels: int = 3, dim: int = 6, spread: float = 0.7) -> VideoExamples:
    """A video of the training part: frames of each label lie around a point of its own."""
    return video(*blob_arrays(num, seed=seed, num_labels=num_labels, dim=dim, spread=spread), num_labels=num_labels)


def blob_arrays(
    num: int, *, seed: int = 0, num_labels: int = 3, dim: int = 6, spread: float = 0.7
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng([seed, 1])
    middles = np.random.default_rng(9).normal(size=(num_labels, dim))
    labels = rng.integers(0, num_labels, num)
    return (middles[labels] + spread * rng.normal(size=(num, dim))).astype(np.float32), labels


@dataclass(slots=True)
class MemoryCheckpoints(Checkpoints):
    """Keeps what was saved, and dies after so many times if asked to."""

    dies_after: int | None = None
    saved: list[bytes] = field(default_factory=list)

    @override
    def load(self) -> bytes | None:
        return self.saved[-1] if self.saved else None

    @override
    def save(self, data: bytes) -> None:
        self.saved.append(data)
        if self.dies_after is not None and len(self.saved) >= self.dies_after:
            raise KeyboardInterrupt
