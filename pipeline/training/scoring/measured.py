"""What was measured of a head: the document ``metrics.json`` as values."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.records.documents import Document
from pipeline.training.fitting.fitted import Calibration, Epoch
from pipeline.training.labels.report import LabelReport
from pipeline.training.scoring.leakage import Leakage
from pipeline.training.scoring.metrics import Scores, Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Always saying the commonest label of training."""

    label: str
    totals: Mapping[str, Totals]
    """Of each part that was scored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """How the fitting went."""

    temperature: float | None
    calibration: Calibration | None
    history: tuple[Epoch, ...]
    best_epoch: int | None
    num_units_used: int
    share_used: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that is measured of a version."""

    labels: LabelReport
    learned: Learned
    parts: Mapping[str, Scores]
    """Of test and validation, where there are such parts; of training only where there is neither."""
    baseline: Baseline
    leakage: Leakage | None
    """``None``: there is no test part."""

    @property
    def shown(self) -> str:
        """The part whose scores stand for the head: test, else validation, else training."""
        return next(part for part in ("test", "validation", "train") if part in self.parts)

    def to_json(self) -> Document:
        """The document, but for what made the version."""
        learned = self.learned
        calibration = learned.calibration
        scored = {part: scores.to_json() for part, scores in self.parts.items()}
        return {
            "test": None,
            "validation": None,
            **scored,
            "baseline": {
                "label": self.baseline.label,
                **{part: totals.to_json() for part, totals in self.baseline.totals.items()},
            },
            "leakage": None if self.leakage is None else self.leakage.to_json(),
            "temperature": learned.temperature,
            "calibration": None
            if calibration is None
            else {
                "expected_calibration_error_before": calibration.before,
                "expected_calibration_error_after": calibration.after,
                "num_units": calibration.num_units,
            },
            "training": {
                "num_units": learned.num_units_used,
                "share": learned.share_used,
                "epochs": len(learned.history),
                "best_epoch": learned.best_epoch,
                "train_loss": [epoch.train_loss for epoch in learned.history],
                "validation_loss": [epoch.validation_loss for epoch in learned.history],
            },
            "data": self.labels.to_json(),
        }
