"""How much of the test a head has seen in training under another name: the nearest training unit of each test unit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.models.heads.pooling import pool
from pipeline.records.documents import Document
from pipeline.training.examples import PARTS, VideoExamples
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.scoring.metrics import Answered, Totals, totals_of

THRESHOLD = 0.999
MOST_UNITS = 10_000
_FEWEST_UNITS = 500
_MOST_PRODUCTS = 2 * 10**12
"""Multiplications that are worth it, a minute or two of a small machine: a huge lake is asked of fewer test units."""
_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """What was found of the test units that were drawn."""

    num_units: int
    num_test_units: int
    """That there are."""
    num_training_units: int
    share: float
    """Of those drawn whose nearest training unit has a cosine above ``THRESHOLD``."""
    without: Totals | None
    """The score of the others; ``None``: there are none."""

    def to_json(self) -> Document:
        """As it stands in ``metrics.json``."""
        return {
            "threshold": THRESHOLD,
            "num_units": self.num_units,
            "num_test_units": self.num_test_units,
            "num_training_units": self.num_training_units,
            "share": self.share,
            "without": None if self.without is None else self.without.to_json(),
        }


def measure_leakage(examples: LakeExamples, answered: Answered, *, seed: int) -> Leakage:
    """Compare test units, drawn by the seed, with all training units.

    Args:
        examples: the lake's.
        answered: the test units in the order of reading, at least one.
        seed: of the draw.
    """
    num_train = examples.num_units("train")
    dim = examples.videos.lake.dim
    affordable = max(_FEWEST_UNITS, _MOST_PRODUCTS // max(1, num_train * dim))
    num_drawn = min(len(answered), MOST_UNITS, affordable)
    drawn = np.sort(np.random.default_rng(seed).choice(len(answered), num_drawn, replace=False))
    nearest = _nearest(_drawn_units(examples, drawn), examples)
    others = answered.of(drawn[nearest <= THRESHOLD])
    without = None
    if len(others):
        without = totals_of(others.targets > 0, others.said(), is_multi_label=others.is_multi_label)
    return Leakage(
        num_units=num_drawn,
        num_test_units=len(answered),
        num_training_units=num_train,
        share=float((nearest > THRESHOLD).mean()),
        without=without,
    )


def _drawn_units(examples: LakeExamples, drawn: NDArray[np.int64]) -> NDArray[np.float32]:
    """The directions of some of the test units."""
    found, first = [], 0
    for video in examples.of_part("test"):
        mine = np.flatnonzero(video.parts == PARTS.index("test"))
        wanted = drawn[np.searchsorted(drawn, first) : np.searchsorted(drawn, first + len(mine))] - first
        found.append(_directions(video, mine[wanted]))
        first += len(mine)
    return np.concatenate(found)


def _nearest(units: NDArray[np.float32], examples: LakeExamples) -> NDArray[np.float32]:
    """The cosine of each unit to its nearest training unit."""
    nearest = np.full(len(units), -1, np.float32)
    for block in _training_blocks(examples):
        np.maximum(nearest, (block @ units.T).max(axis=0), out=nearest)
    return nearest


def _training_blocks(examples: LakeExamples) -> Iterator[NDArray[np.float32]]:
    waiting: list[NDArray[np.float32]] = []
    for video in examples.of_part("train"):
        mine = np.flatnonzero(video.parts == PARTS.index("train"))
        for start in range(0, len(mine), _ROWS):
            waiting.append(_directions(video, mine[start : start + _ROWS]))
            if sum(map(len, waiting)) >= _ROWS:  # products of single rows would take most of the time
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)


def _directions(video: VideoExamples, units: NDArray[np.int64]) -> NDArray[np.float32]:
    """The raw features of units, averaged over each, and scaled to length 1."""
    means = pool(video.features, video.units.begin[units], video.units.end[units], ("mean",))
    lengths = np.sqrt(np.einsum("ud,ud->u", means, means))
    lengths[lengths == 0] = 1
    directions: NDArray[np.float32] = means / lengths[:, None]
    return directions
