"""A fitted head is measured: its scores part by part, with the baseline and the leakage beside them."""

from pathlib import Path

from pipeline.training.fitting.fitted import Fitted
from pipeline.training.labels.lake_examples import LakeExamples
from pipeline.training.scoring.leakage import Leakage, measure_leakage
from pipeline.training.scoring.measured import Baseline, Learned, Measured
from pipeline.training.scoring.metrics import Answered, baseline_of, gathered, scores_of


def measure(examples: LakeExamples, fitted: Fitted, *, seed: int, scratch: Path) -> Measured:
    """Measure a head.

    Args:
        examples: that it was fitted on.
        fitted: the head.
        seed: draws the test units whose leakage is measured.
        scratch: a folder on a local disk, in which room for many answers is made.

    Raises:
        StorageError: the lake or the disk failed.
    """
    measured = [part for part in ("test", "validation") if len(fitted.parts[part])] or ["train"]
    report = examples.report
    commonest = max(report.classes, key=lambda label: report.classes[label]["train"].units)
    parts, baselines = {}, {}
    leakage: Leakage | None = None
    for part in measured:
        answered = _answered(examples, fitted, part=part, scratch=scratch)
        parts[part] = scores_of(answered)
        baselines[part] = baseline_of(answered, commonest=commonest)
        if part == "test":
            leakage = measure_leakage(examples, answered, seed=seed)
    return Measured(
        labels=report,
        learned=Learned(
            temperature=fitted.temperature,
            calibration=fitted.calibration,
            history=fitted.history,
            best_epoch=fitted.best_epoch,
            num_units_used=fitted.num_units_used,
            share_used=fitted.share_used,
        ),
        parts=parts,
        baseline=Baseline(label=commonest, totals=baselines),
        leakage=leakage,
    )


def _answered(examples: LakeExamples, fitted: Fitted, *, part: str, scratch: Path) -> Answered:
    units = fitted.parts[part]
    return gathered(
        units.targets(),
        units.probabilities(),
        labels=examples.labels,
        thresholds=fitted.thresholds,
        scratch=scratch,
    )
