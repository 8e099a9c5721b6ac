"""What the card of a head and that of a fine-tuned network say alike, of units or of pictures."""

from collections.abc import Iterable

from pipeline.training.examples import PARTS
from pipeline.training.labels.report import LabelReport
from pipeline.training.scoring.markdown import listed, per_class, plain, table
from pipeline.training.scoring.measured import Measured

_FEW = 30
_TITLES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


def parts_of_labels(labels: LabelReport, *, noun: str) -> str:
    """How many units each label has in each part, and of how many videos; ``noun`` is what a card calls units."""
    return table(
        ["label", *(f"{part} {noun} (videos)" for part in PARTS)],
        [[label, *(f"{of[part].units} ({of[part].videos})" for part in PARTS)] for label, of in labels.classes.items()],
    )


def scores(measured: Measured, *, noun: str, model: str) -> Iterable[str]:
    """The scores of each part with the baseline beside them, and those of each label; ``model`` is what they are of."""
    baseline = measured.baseline
    yield (
        f"The baseline always says `{plain(baseline.label)}`, the commonest label of training."
        if measured.shown != "train"
        else f"There is neither a test nor a validation part: these scores are of the training {noun} themselves, "
        "and say nothing about others."
    )
    rows = []
    for part, own_scores in measured.parts.items():
        for name, title in _TITLES.items():
            own, theirs = getattr(own_scores.totals, name), getattr(baseline.totals[part], name)
            rows.append([part, title, f"{own:.3f}", f"{theirs:.3f}"])
    yield table(["part", "score", model, "baseline"], rows)
    shown = measured.parts[measured.shown]
    yield f"Per label, on the {shown.totals.num_units} {noun} of the {measured.shown} part:"
    yield per_class(shown)
    yield "![confusion matrix](confusion.png)"


def limits_of_parts(measured: Measured, *, noun: str) -> Iterable[str]:
    """Which labels training or measuring saw too little of."""
    classes = measured.labels.classes
    few = [label for label, of in classes.items() if of["train"].units < _FEW]
    if few:
        yield f"Labels with fewer than {_FEW} training {noun}: {listed(few)}."
    for part in PARTS[1:]:
        absent = [label for label, of in classes.items() if not of[part].units]
        if absent and len(absent) < len(classes):
            one = noun.removesuffix("s")
            yield f"Labels without a {one} in the {part} part, so not measured there: {listed(absent)}."
    if "test" not in measured.parts:
        yield f"There is no test part: nothing was measured on {noun} that played no role in training."
