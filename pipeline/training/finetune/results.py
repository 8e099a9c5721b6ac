"""What a training came to: the scores of the best network on the pictures that it has not learned from."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.models.heads.probabilities import of_logits
from pipeline.training.examples import PARTS
from pipeline.training.finetune.loop import Scored
from pipeline.training.finetune.picture_examples import PictureExamples
from pipeline.training.fitting.calibration import temperature_of
from pipeline.training.fitting.fitted import Calibration, Epoch
from pipeline.training.scoring.measured import Baseline, Learned, Measured
from pipeline.training.scoring.metrics import Answered, baseline_of, calibration_error, scores_of


def measured_of(examples: PictureExamples, scored: Scored) -> Measured:
    """All that is measured of a network.

    Leakage is not: it goes by features that do not change, and these were learned from the very pictures.
    """
    before = _answers(examples, scored, temperature=None)
    temperature = _temperature(examples, scored)
    answers = before if temperature is None else _answers(examples, scored, temperature=temperature)
    calibration = None
    if temperature is not None:
        calibration = Calibration(
            before=calibration_error(before["validation"]),
            after=calibration_error(answers["validation"]),
            num_units=len(answers["validation"]),
        )
    commonest = examples.commonest
    epochs = scored.course.epochs
    return Measured(
        labels=examples.report,
        learned=Learned(
            temperature=temperature,
            calibration=calibration,
            history=tuple(Epoch(train_loss=each.loss, validation_loss=each.validation_loss) for each in epochs),
            best_epoch=scored.course.best_epoch,
            num_units_used=examples.num("train"),
            share_used=1.0,
        ),
        parts={part: scores_of(answered) for part, answered in answers.items()},
        baseline=Baseline(
            label=commonest,
            totals={part: baseline_of(answered, commonest=commonest) for part, answered in answers.items()},
        ),
        leakage=None,
    )


def _temperature(examples: PictureExamples, scored: Scored) -> float | None:
    is_validation = examples.parts[scored.numbers] == PARTS.index("validation")
    if not is_validation.any():
        return None
    targets = _one_hot(examples, scored.numbers[is_validation])
    return temperature_of(scored.scores[is_validation].astype(np.float64), targets, is_multi_label=False)


def _answers(examples: PictureExamples, scored: Scored, *, temperature: float | None) -> Mapping[str, Answered]:
    """What the network says of each part that it was asked about, test first."""
    answers = {}
    for part in reversed(PARTS):
        at = np.flatnonzero(examples.parts[scored.numbers] == PARTS.index(part))
        if len(at):
            answers[part] = Answered(
                labels=examples.labels,
                targets=_one_hot(examples, scored.numbers[at]),
                probabilities=of_logits(scored.scores[at], is_multi_label=False, temperature=temperature),
                thresholds=(),
            )
    return answers


def _one_hot(examples: PictureExamples, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.eye(len(examples.labels), dtype=np.float32)[examples.targets[numbers]]
