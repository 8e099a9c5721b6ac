"""How often a head is right: scikit-learn's scores of what it says of labelled units."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.models.heads.probabilities import labelled
from pipeline.records.documents import Document
from pipeline.training.fitting.calibration import expected_calibration_error

_IN_MEMORY_BYTES = 1 << 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Labelled units of one part and what a head says of them, U of each."""

    labels: tuple[str, ...]
    targets: NDArray[np.float32]
    """``float32[U, C]``."""
    probabilities: NDArray[np.float32]
    """``float32[U, C]``; in a file where they are many."""
    thresholds: tuple[float, ...]
    """Above which a label holds, where a unit may have several; else none."""

    def __len__(self) -> int:
        return len(self.probabilities)

    @property
    def is_multi_label(self) -> bool:
        """Whether a unit may have several labels, or none."""
        return bool(self.thresholds)

    def said(self) -> NDArray[np.bool_]:
        """``bool[U, C]``: the labels that the head gives."""
        return labelled(self.probabilities, thresholds=self.thresholds).holds

    def of(self, places: NDArray[np.int64]) -> "Answered":
        """Some of the units."""
        return Answered(
            labels=self.labels,
            targets=self.targets[places],
            probabilities=self.probabilities[places],
            thresholds=self.thresholds,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScores:
    """Of one label."""

    precision: float
    recall: float
    f1: float
    average_precision: float | None
    """``None``: no unit has the label."""
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of all labels."""

    num_units: int
    accuracy: float
    """The share of units whose label, or whose every label, is right."""
    balanced_accuracy: float
    """The mean over the labels of the share that is found; of several labels a unit, of right and wrong ones alike."""
    macro_f1: float

    def to_json(self) -> Document:
        """As it stands in ``metrics.json``."""
        return {
            "num_units": self.num_units,
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What there is to say of one part."""

    totals: Totals
    confusion: tuple[tuple[int, ...], ...]
    """Row: the label; column: what was said. Of several labels a unit: a row a label, with how often it was rightly not
    given, wrongly given, wrongly not given, rightly given.
    """
    per_class: Mapping[str, ClassScores]
    expected_calibration_error: float

    def to_json(self) -> Document:
        """As it stands in ``metrics.json``."""
        return {
            **self.totals.to_json(),
            "confusion": [list(row) for row in self.confusion],
            "per_class": {
                label: {
                    "precision": each.precision,
                    "recall": each.recall,
                    "f1": each.f1,
                    "average_precision": each.average_precision,
                    "units": each.units,
                }
                for label, each in self.per_class.items()
            },
            "expected_calibration_error": self.expected_calibration_error,
        }


def gathered(
    targets: NDArray[np.float32],
    probabilities: Iterable[NDArray[np.float32]],
    *,
    labels: tuple[str, ...],
    thresholds: tuple[float, ...],
    scratch: Path,
) -> Answered:
    """What a head says, some units at a time, as one: in a file of ``scratch`` where that is much."""
    shape = (len(targets), len(labels))
    room: NDArray[np.float32] = (
        np.memmap(scratch / "probabilities.f32", np.float32, "w+", shape=shape)
        if 4 * shape[0] * shape[1] > _IN_MEMORY_BYTES
        else np.empty(shape, np.float32)
    )
    at = 0
    for some in probabilities:
        room[at : at + len(some)] = some
        at += len(some)
    if at != len(targets):
        raise ValueError(f"{at} answers for {len(targets)} units")
    return Answered(labels=labels, targets=targets, probabilities=room, thresholds=thresholds)


def scores_of(answered: Answered) -> Scores:
    """The scores of at least one unit."""
    said, targets = answered.said(), answered.targets > 0
    return Scores(
        totals=totals_of(targets, said, is_multi_label=answered.is_multi_label),
        confusion=_confusion(targets, said, is_multi_label=answered.is_multi_label),
        per_class=_per_class(answered, targets, said),
        expected_calibration_error=calibration_error(answered),
    )


def totals_of(targets: NDArray[np.bool_], said: NDArray[np.bool_], *, is_multi_label: bool) -> Totals:
    """The totals of ``bool[U, C]`` labels and what was said; at least one unit."""
    from sklearn.metrics import f1_score, recall_score

    if is_multi_label:
        recall = recall_score(targets, said, average=None, zero_division=np.nan)
        specificity = recall_score(~targets, ~said, average=None, zero_division=np.nan)
        balanced = float(np.nanmean(np.concatenate([recall, specificity])))
        macro_f1 = float(f1_score(targets, said, average="macro", zero_division=0))
    else:
        true, given = targets.argmax(axis=1), said.argmax(axis=1)
        present = np.unique(true)
        balanced = float(recall_score(true, given, labels=present, average="macro", zero_division=0))
        macro_f1 = float(f1_score(true, given, average="macro", zero_division=0))
    return Totals(
        num_units=len(targets),
        accuracy=float((targets == said).all(axis=1).mean()),
        balanced_accuracy=balanced,
        macro_f1=macro_f1,
    )


def baseline_of(answered: Answered, *, commonest: str) -> Totals:
    """The totals of always saying one label."""
    said = np.zeros(answered.targets.shape, np.bool_)
    said[:, answered.labels.index(commonest)] = True
    return totals_of(answered.targets > 0, said, is_multi_label=answered.is_multi_label)


def calibration_error(answered: Answered) -> float:
    """The expected calibration error: how far confidence and the share of right answers are apart, on average.

    Of the most probable label or, where a unit may have several, of every label.
    """
    return expected_calibration_error(answered.probabilities, answered.targets, is_multi_label=answered.is_multi_label)


def _confusion(
    targets: NDArray[np.bool_], said: NDArray[np.bool_], *, is_multi_label: bool
) -> tuple[tuple[int, ...], ...]:
    from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

    if is_multi_label:
        counts = multilabel_confusion_matrix(targets, said).reshape(-1, 4)
    else:
        every = np.arange(targets.shape[1])
        counts = confusion_matrix(targets.argmax(axis=1), said.argmax(axis=1), labels=every)
    return tuple(tuple(row) for row in counts.tolist())


def _per_class(answered: Answered, targets: NDArray[np.bool_], said: NDArray[np.bool_]) -> dict[str, ClassScores]:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    every = np.arange(targets.shape[1])
    true, given = (targets, said) if answered.is_multi_label else (targets.argmax(axis=1), said.argmax(axis=1))
    precision, recall, f1, units = precision_recall_fscore_support(
        true, given, labels=every, average=None, zero_division=0
    )
    return {
        label: ClassScores(
            precision=float(precision[at]),
            recall=float(recall[at]),
            f1=float(f1[at]),
            average_precision=float(average_precision_score(targets[:, at], answered.probabilities[:, at]))
            if units[at]
            else None,
            units=int(units[at]),
        )
        for at, label in enumerate(answered.labels)
    }
