"""What a lake is asked: what to look for, and where to look."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.explore.labels import LabelScorer
from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.periods import Period

Value = str | int | float | bool | None
"""What a column of ``videos`` is compared with."""

MOST_TOP = 1000
"""Of moments or rows in one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where to look; without any of them everywhere."""

    where: str | None = None
    """A SQL condition over the table ``videos``, from the command line alone."""
    equal: Mapping[str, Value] = field(default_factory=dict)
    """Columns of ``videos`` and the value that each must have: what HTTP takes in the place of SQL."""
    period: Period = field(default_factory=Period)
    """By the moment when a row was captured."""

    @property
    def is_everywhere(self) -> bool:
        """Whether no row is left out."""
        return self.where is None and not self.equal and self.period.is_open


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuery:
    """Rows like a picture, whose feature this is."""

    vector: NDArray[np.float32]
    """``float32[D]``"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleQuery:
    """Rows like a sample of the lake: the one nearest to a time of a video."""

    uri: str
    """Of the video; its last part does where no other video ends so."""
    time_s: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``URI@SECONDS``.

        Raises:
            UsageError: it is not of this form.
        """
        uri, at, seconds = text.rpartition("@")
        try:
            time_s = float(seconds)
        except ValueError:
            time_s = np.nan
        if not (at and uri and np.isfinite(time_s)):
            raise UsageError(f"{text!r} names no moment of a video: give URI@SECONDS, such as a.mp4@12.5")
        return cls(uri=uri, time_s=time_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceQuery:
    """Stretches like a video: where it, or a part of it, occurs in the lake."""

    times_s: NDArray[np.float64]
    """``float64[T]``: of its samples, ascending, from its first frame."""
    vectors: NDArray[np.float32]
    """``float32[T, D]``"""
    end_s: float
    """Where it ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelQuery:
    """Rows that a classification layer or a head gives one of some labels."""

    scorer: LabelScorer
    columns: tuple[int, ...]
    """Which labels: a row's score is their probability together."""


Query = VectorQuery | SampleQuery | SequenceQuery | LabelQuery

_DENSER = 4
"""A query's samples for each of the lake's: so one of them is close to each picture of the lake."""
_USUAL_RATE_HZ = Fraction(1)
"""Where the dataset was not sampled at even times."""


def query_rule(sample: str, *, is_of_clips: bool) -> SamplingRule:
    """How a video is sampled that is looked for in a lake that was sampled so."""
    rule = parse_rule(sample)
    if is_of_clips:
        return rule
    rate_hz = rule.rate_hz if isinstance(rule, FpsRule) else _USUAL_RATE_HZ
    return FpsRule(rate_hz * _DENSER)
