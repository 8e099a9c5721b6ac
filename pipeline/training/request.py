"""What ``train`` was asked for, once its words are understood."""

from dataclasses import dataclass
from typing import Literal

from pipeline.records.heads import HeadKind
from pipeline.records.periods import Period
from pipeline.records.units import Unit

ClassWeights = Literal["balanced", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOptions:
    """Where labels are from: a file, or without one a column of the manifest that the lake was made by."""

    file: str | None
    column: str
    group: str | None = None
    """The column whose equal values keep videos in one part."""
    is_multi_label: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions:
    """Which share of the groups each part gets, where the labels do not say."""

    validation: float = 0.15
    test: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.validation < 1 and 0 <= self.test < 1 and self.validation + self.test < 1):
            raise ValueError(f"shares of {self.validation} and {self.test} leave nothing to train on")


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How a head is fitted."""

    kind: HeadKind
    unit: Unit
    steps: tuple[str, ...] = ()
    pool: tuple[str, ...] = ("mean",)
    class_weights: ClassWeights = "balanced"
    epochs: int = 100
    batch_size: int | None = None
    """``None``: chosen."""
    learning_rate: float = 0.001
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """One ``vidlake train``, as it was parsed."""

    lake: str
    out: str
    """``HEADS/NAME``."""
    labels: LabelOptions
    split: SplitOptions
    fit: FitOptions
    period: Period
    uses_it: bool = True
    """Whether the new version is the one in use."""
    again: bool = False
    """Whether a version is made even where the same words have made one."""
