"""What a finished command about heads says, in words."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pipeline.records.documents import Document, number, part, text, whole
from pipeline.training.evaluate import Evaluated
from pipeline.training.listing import ListedHead
from pipeline.training.train import Trained

_WIDE = 200
"""Columns, where stdout is no terminal."""
_MOST_LABELS = 6


def describe_trained(trained: Trained) -> str:
    """The closing summary of ``train``."""
    metrics = trained.metrics
    use = "in use" if trained.current == trained.version else f"version {trained.current} is in use"
    shown = next(name for name in ("test", "validation", "train") if isinstance(metrics.get(name), dict))
    lines = [
        f"{trained.uri}@{trained.version} ({use}): {_scores(part(metrics, shown), on=shown)}",
        _baseline(part(metrics, "baseline"), text(part(metrics, "baseline"), "label"), on=shown),
    ]
    if metrics["leakage"] is not None:
        lines.append(_leakage(part(metrics, "leakage")))
    if metrics["temperature"] is not None:
        calibration = part(metrics, "calibration")
        before, after = (number(calibration, f"expected_calibration_error_{when}") for when in ("before", "after"))
        lines.append(
            f"temperature {number(metrics, 'temperature'):.3f}: expected calibration error {before:.3f} before, "
            f"{after:.3f} after, on the validation part"
        )
    training = part(metrics, "training")
    if number(training, "share") < 1 or not whole(training, "epochs"):  # trees, which must have their units in memory
        lines.append(f"trained on {whole(training, 'num_units')} units, {number(training, 'share'):.0%} of the part")
    return "\n".join([*lines, f"model card: {trained.uri}/{trained.version}/README.md"])


def describe_evaluated(evaluated: Evaluated) -> str:
    """The closing summary of ``evaluate``."""
    scores = evaluated.scores
    document = evaluated.to_json()
    lines = [
        f"{evaluated.head} on {evaluated.lake}: {_scores(document, on=evaluated.on)}",
        f"always saying {evaluated.baseline_label}: {_three(part(document, 'baseline'))}",
        f"expected calibration error {scores.expected_calibration_error:.3f}",
        *([] if evaluated.live is None else [str(evaluated.live)]),
        "",
    ]
    width = max(len("label"), *map(len, scores.per_class))
    lines.append(f"{'label':<{width}}  precision  recall     F1  average precision  units")
    for label, each in scores.per_class.items():
        average = "-" if each.average_precision is None else f"{each.average_precision:.3f}"
        lines.append(
            f"{label:<{width}}  {each.precision:>9.3f}  {each.recall:>6.3f}  {each.f1:>5.3f}  {average:>17}  "
            f"{each.units:>5}"
        )
    return "\n".join(lines)


def print_heads(heads: Sequence[ListedHead]) -> None:
    """A table of all versions, those in use marked."""
    table = Table(box=None, pad_edge=False)
    for name in ("head", "version", "in use", "kind", "unit", "labels", "score"):
        table.add_column(name, justify="right" if name in ("version", "score") else "left")
    for head in heads:
        for each in head.versions:
            shown = ", ".join(each.labels[:_MOST_LABELS])
            more = f" ... ({len(each.labels)})" if len(each.labels) > _MOST_LABELS else ""
            table.add_row(
                head.name,
                str(each.version),
                "yes" if each.is_current else "",
                each.kind or "",
                each.unit or "",
                f"{shown}{more}" if each.problem is None else each.problem,
                "" if each.score is None else f"{each.score:.3f}",
            )
    console = Console(file=sys.stdout, highlight=False, markup=False)
    console.print(table, width=None if console.is_terminal else _WIDE, crop=False)


def _scores(document: Document, *, on: str) -> str:
    return f"{_three(document)} on {whole(document, 'num_units')} {'' if on == 'all' else f'{on} '}units"


def _three(document: Document) -> str:
    return (
        f"accuracy {number(document, 'accuracy'):.3f}, balanced accuracy {number(document, 'balanced_accuracy'):.3f}, "
        f"macro F1 {number(document, 'macro_f1'):.3f}"
    )


def _baseline(baseline: Document, label: str, *, on: str) -> str:
    return f"always saying {label}: {_three(part(baseline, on))}"


def _leakage(leakage: Document) -> str:
    share, num_units = number(leakage, "share"), whole(leakage, "num_units")
    if share == 0:
        return f"no leakage: none of {num_units} test units has a training unit that shows the same"
    without = ""
    if leakage["without"] is not None:
        others = part(leakage, "without")
        without = f"; without them: {_three(others)} on {whole(others, 'num_units')} units"
    return f"leakage: {share:.1%} of {num_units} test units have a training unit that shows the same{without}"
