"""The words of the commands about heads, and the typed values that they become."""

import math
from typing import TypedDict, get_args

import click

from pipeline.cli.options import options
from pipeline.errors import UsageError
from pipeline.records.heads import HeadKind, pools_of, steps_of
from pipeline.records.periods import TIMES_HELP, Period
from pipeline.records.units import Unit
from pipeline.training.request import ClassWeights, FitOptions, LabelOptions, SplitOptions, TrainRequest

_SHARE = click.FloatRange(min=0, max=1, max_open=True)
LABELS = options(
    click.option("--labels", metavar="FILE", help="A .csv or .parquet. Without it: columns of the lake's manifest."),
    click.option("--label", default="label", show_default=True, metavar="COLUMN", help="Which column holds the label."),
)
LEARNING = options(
    click.option(
        "--head", default="linear", show_default=True, help="linear, mlp[:H], gru[:H], tree, forest or boosting."
    ),
    click.option("--unit", default="frame", show_default=True, help="frame, window:S[/STEP] or video."),
    click.option(
        "--features", default="", metavar="STEPS", help="l2, standardize, pca:K, delta; joined by commas, in order."
    ),
    click.option("--pool", default="mean", show_default=True, help="Of a unit's samples: mean, std, max; by commas."),
)
SPLIT = options(
    click.option("--group", metavar="COLUMN", help="Rows that share its value stay in one part.  [the video]"),
    click.option("--validation", type=_SHARE, default=0.15, show_default=True, help="Share of the groups."),
    click.option("--test", type=_SHARE, default=0.15, show_default=True, help="Share of the groups."),
    click.option("--since", metavar="T", help=f"What was recorded from then on: {TIMES_HELP}."),
    click.option("--until", metavar="T", help="What was recorded before then."),
    click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, show_default=True, metavar="N"),
    click.option("--multi-label", is_flag=True, help="A unit may have several labels."),
)
FITTING = options(
    click.option("--class-weights", type=click.Choice(get_args(ClassWeights)), default="balanced", show_default=True),
    click.option("--epochs", type=click.IntRange(min=1), default=100, show_default=True, metavar="N", help="At most."),
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Units that are learned from at once."),
    click.option(
        "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=0.001, show_default=True, metavar="R"
    ),
)


class TrainWords(TypedDict):
    """What the words of ``train`` parse to, but for ``--dry-run`` and ``--json``."""

    lake: str
    out: str
    labels: str | None
    label: str
    head: str
    unit: str
    features: str
    pool: str
    group: str | None
    validation: float
    test: float
    since: str | None
    until: str | None
    seed: int
    multi_label: bool
    class_weights: ClassWeights
    epochs: int
    batch_size: int | None
    learning_rate: float
    no_use: bool
    again: bool


def train_request_of(words: TrainWords) -> TrainRequest:
    """What ``train`` is asked for.

    Raises:
        UsageError: one of the words does not parse, or two do not go together.
    """
    require_words(LAKE=words["lake"], out=words["out"], labels=words["labels"], label=words["label"])
    if words["validation"] + words["test"] >= 1:
        raise UsageError("--validation and --test leave nothing to train on: together they must be below 1")
    kind = HeadKind.parse(words["head"])
    if kind.name == "boosting" and words["multi_label"]:
        raise UsageError("--head boosting gives a unit one label: take another head with --multi-label")
    if not math.isfinite(words["learning_rate"]):
        raise UsageError("--learning-rate must be a finite number")
    since, until = (None if text is None else str(text) for text in (words["since"], words["until"]))
    return TrainRequest(
        lake=words["lake"],
        out=words["out"],
        labels=LabelOptions(
            file=words["labels"],
            column=words["label"],
            group=words["group"],
            is_multi_label=words["multi_label"],
        ),
        split=SplitOptions(validation=words["validation"], test=words["test"], seed=words["seed"]),
        fit=FitOptions(
            kind=kind,
            unit=Unit.parse(words["unit"]),
            steps=steps_of(words["features"]),
            pool=pools_of(words["pool"]),
            class_weights=words["class_weights"],
            epochs=words["epochs"],
            batch_size=words["batch_size"],
            learning_rate=words["learning_rate"],
            seed=words["seed"],
        ),
        period=Period.parse(since, until),
        uses_it=not words["no_use"],
        again=words["again"],
    )


def require_words(**words: str | None) -> None:
    """Make sure that words that are given say something: an empty one is a variable of a script that is not set.

    Raises:
        UsageError: one is empty.
    """
    for name, word in words.items():
        if word == "":
            raise UsageError(f"{name if name.isupper() else f'--{name}'} is empty: give a folder, a file or an address")
