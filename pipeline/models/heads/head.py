"""A head at work: the features of a video's samples in, the probabilities of its units' labels out.

Batch and live hold the same one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.heads.arrays import Arrays, Shape, check
from pipeline.models.heads.pooling import pool
from pipeline.models.heads.probabilities import Labelled, labelled
from pipeline.models.heads.scorers import scorer_of, scorer_shapes
from pipeline.models.heads.sequences import SequenceScorer
from pipeline.models.heads.steps import apply_steps, shapes_of, steps_of
from pipeline.records.heads import HeadInfo
from pipeline.records.units import Units, VideoSamples

Features = NDArray[np.float32]

_ROWS = 8192
"""Of vectors computed at a time: memory does not grow with the number of samples."""

_LEAST_STEP_S = 0.001
"""Of windows: no video has pictures closer to each other, and windows cost memory."""

_MOST_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a head says of one video."""

    units: Units
    probabilities: NDArray[np.float32]
    """``float32[U, C]``, in the order of the head's labels."""


class Head:
    """One version of a head, ready to answer. Safe to use from many threads.

    Attributes:
        info: what is known of it.
        digest: identifies it, document and numbers.
    """

    def __init__(self, info: HeadInfo, arrays: Arrays, *, digest: str) -> None:
        """Build it over arrays that it keeps.

        Raises:
            ValueError: the document is no possible head's, or the arrays are not those that it needs.
        """
        check_info(info)
        shapes, dim = _shapes(info)
        check(arrays, shapes)
        self.info = info
        self.digest = digest
        self._steps = steps_of(info.steps, arrays)
        self._scorer = scorer_of(info, arrays, dim=dim)
        self._rounded_columns = _rounded_columns(info)

    def answer(self, features: Features, samples: VideoSamples) -> Answers:
        """What it says of each unit of a video.

        Args:
            features: ``float32[T, D]``, rounded to the stored type first.
            samples: when they are shown, in the order of time.
        """
        units = self.info.unit.of(samples)
        if self.info.is_each_sample_alone:
            return Answers(units=units, probabilities=self.frames(features))
        return Answers(units=units, probabilities=self.of_units(features, units, runs=samples.epochs))

    def of_units(
        self, features: Features, units: Units, *, runs: NDArray[np.int64] | NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The probabilities ``float32[U, C]`` of units that the caller chose, such as the last seconds of a stream.

        Args:
            features: ``float32[T, D]``, in the order of time.
            units: which ranges of these rows they are.
            runs: ``int64[T]``, as the feature steps take them: the epoch of each sample.
        """
        x = apply_steps(self._steps, self._stored(features), runs=runs.astype(np.int64))
        parts = [
            self._score(x, units.begin[start : start + _ROWS], units.end[start : start + _ROWS])
            for start in range(0, len(units), _ROWS)
        ]
        return self._joined(parts)

    def frames(self, features: Features) -> NDArray[np.float32]:
        """The probabilities ``float32[N, C]`` of samples, of any videos and in any order.

        Args:
            features: ``float32[N, D]``.

        Raises:
            ValueError: an answer of this head needs more than one sample.
        """
        if not self.info.is_each_sample_alone:
            raise ValueError("this head needs the samples of a unit together")
        parts = []
        for start in range(0, len(features), _ROWS):
            rows = self._stored(features[start : start + _ROWS])
            at = np.arange(len(rows), dtype=np.int64)
            parts.append(self._score(apply_steps(self._steps, rows, runs=at), at, at + 1))
        return self._joined(parts)

    def labels_of(self, probabilities: NDArray[np.float32]) -> Labelled:
        """Which labels probabilities ``float32[U, C]`` stand for."""
        return labelled(probabilities, thresholds=self.info.thresholds)

    def _score(self, x: Features, begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float32]:
        if isinstance(self._scorer, SequenceScorer):
            return self._scorer.probabilities(x, begin, end, temperature=self.info.temperature)
        return self._scorer.probabilities(pool(x, begin, end, self.info.pool), temperature=self.info.temperature)

    def _stored(self, features: Features) -> Features:
        """The features as a dataset keeps them: a picture that is asked about live is one of the archive."""
        if features.ndim != 2 or features.shape[1] != self.info.dim:
            raise ValueError(f"features are {list(features.shape)}, not [N, {self.info.dim}]")
        rows = np.ascontiguousarray(features, np.float32)
        if not self._rounded_columns:
            return rows
        if self._rounded_columns == (slice(0, self.info.dim),):
            return as_float16(rows)
        rows = rows.copy()
        for columns in self._rounded_columns:
            rows[:, columns] = as_float16(rows[:, columns])
        return rows

    def _joined(self, parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, len(self.info.labels)), np.float32)


def as_float16(rows: Features) -> Features:
    """Rounded to half precision; what that cannot hold becomes infinite, as in a dataset. Torch is fast at it."""
    rounded: Features = torch.tensor(rows).half().float().numpy()
    return rounded


def check_info(info: HeadInfo) -> None:
    """Make sure that a document is one that a head can be built by.

    Raises:
        ValueError: it is not.
    """
    temperature = info.temperature
    if temperature is not None and not np.isfinite(temperature):
        raise ValueError(f"a temperature is a finite number, not {temperature}")
    if not all(0 <= threshold <= 1 for threshold in info.thresholds):
        raise ValueError("a threshold is a probability")
    if info.unit.kind == "window" and info.unit.step_s < _LEAST_STEP_S:
        raise ValueError(f"windows are at least {_LEAST_STEP_S:g} s apart, not {info.unit.step_s:g}")
    if len(info.steps) > _MOST_STEPS:
        raise ValueError(f"a head has at most {_MOST_STEPS} feature steps, not {len(info.steps)}")
    if len(set(info.pool)) != len(info.pool) or not (info.pool or info.kind.takes_sequences):
        raise ValueError(f"a head pools in one way or in several different ones, not in {list(info.pool)}")


def _shapes(info: HeadInfo) -> tuple[dict[str, Shape], int]:
    """The arrays of a head, and the length of the vectors that come to its scorer."""
    shapes, dim = shapes_of(info.steps, dim=info.dim)
    if not info.kind.takes_sequences:
        dim *= len(info.pool)
    return {**shapes, **scorer_shapes(info, dim=dim)}, dim


def _rounded_columns(info: HeadInfo) -> tuple[slice, ...]:
    ends = np.cumsum([backbone.model.dim for backbone in info.backbones]).tolist()
    return tuple(
        slice(end - backbone.model.dim, end)
        for backbone, end in zip(info.backbones, ends, strict=True)
        if backbone.dtype == "float16"
    )
