"""``finetune``: the one command that trains the CNN itself."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, TypedDict, Unpack

import click

from pipeline.cli.options import CONFIG, INPUTS, JSON
from pipeline.cluster.terminal import own_terminal
from pipeline.errors import UsageError
from pipeline.extract.progress import Display
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.documents import number, whole
from pipeline.records.documents import part as part_of
from pipeline.storage.addresses import canonical_uri, scheme_of
from pipeline.training.finetune.request import TRAINED, FinetuneRequest, LearningOptions, Trained

if TYPE_CHECKING:
    from pipeline.training.finetune.job import Finetuned

_MOST_WORKERS = 10_000


class FinetuneWords(TypedDict):
    """What the options of ``finetune`` parse to."""

    inputs: tuple[str, ...]
    labels: str
    out: str
    model: str
    weights: str
    sample: str
    train: Trained
    epochs: int
    batch_size: int
    learning_rate: float
    workers: int | None
    seed: int
    address: str | None


@click.command()
@INPUTS
@click.option("--labels", required=True, metavar="FILE", help="A .csv or .parquet: uri or video_id, label, ...")
@click.option("--out", required=True, metavar="FOLDER", help="Gets the weights; may lie in an object store.")
@click.option("--model", default="efficientnet_lite0", show_default=True, help="See `vidlake models`.")
@click.option("--weights", default="default", show_default=True, help="To begin with: default, random:SEED, or a file.")
@click.option("--sample", default="fps:1", show_default=True, help="fps:R, every:N, all, keyframes or uniform:N.")
@click.option("--train", type=click.Choice(TRAINED), default="all", show_default=True, help="Which layers learn.")
@click.option("--epochs", type=click.IntRange(min=1), default=10, show_default=True, metavar="N")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=16, show_default=True, metavar="N", help="A worker's."
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=0.001,
    show_default=True,
    metavar="R",
)
@click.option(
    "--workers", type=click.IntRange(min=1, max=_MOST_WORKERS), metavar="N", help="[one a GPU, or one on CPUs]"
)
@click.option("--seed", type=click.IntRange(min=0, max=2**32 - 1), default=0, show_default=True, metavar="N")
@click.option("--address", metavar="A", help="A Ray cluster: auto or HOST:PORT. Without it a local one is started.")
@JSON
@CONFIG
def finetune(*, is_json: bool, **words: Unpack[FinetuneWords]) -> int:
    """Train the CNN itself on the labelled videos of every INPUT; run again, it goes on.

    FOLDER gets weights.safetensors, which extract and serve take, metrics.json, confusion.png and README.md.
    """
    request = finetune_request_of(words)
    from pipeline.training.finetune.job import run_finetune

    with own_terminal(is_json=is_json):
        done = run_finetune(request, Display())
    click.echo(json.dumps(asdict(done)) if is_json else _described(done))
    return 0


def _described(done: "Finetuned") -> str:
    """The closing summary."""
    metrics = done.metrics
    lines = [
        f"{part}: {number(scores, 'accuracy'):.1%} right, balanced {number(scores, 'balanced_accuracy'):.1%}, "
        f"macro F1 {number(scores, 'macro_f1'):.3f}, {whole(scores, 'num_units')} pictures"
        for part in ("test", "validation", "train")
        if metrics.get(part) is not None
        for scores in (part_of(metrics, part),)
    ]
    if done.was_finished:
        return "\n".join([f"{done.out} was finished already: nothing is left to do", *lines])
    unusable = part_of(metrics, "unusable")
    named = [f"not used, or not wholly: {', '.join(unusable)} (see metrics.json)"] if unusable else []
    return "\n".join([f"{done.out}/weights.safetensors in {done.seconds:.1f} s", *lines, *named])


def finetune_request_of(words: FinetuneWords) -> FinetuneRequest:
    """What ``finetune`` is asked for.

    Raises:
        UsageError: one of the words does not parse.
    """
    for name in ("out", "labels"):
        if words[name] == "":  # a variable of a script that is not set
            raise UsageError(f"--{name} is empty")
    weights = words["weights"]  # the folder records them: no secret may come along
    return FinetuneRequest(
        inputs=tuple(words["inputs"]),
        labels=words["labels"],
        out=words["out"],
        model=words["model"],
        weights=weights if scheme_of(weights) == "file" else canonical_uri(weights),
        rule=parse_rule(str(words["sample"])),
        learning=LearningOptions(
            train=words["train"],
            epochs=words["epochs"],
            batch_size=words["batch_size"],
            learning_rate=words["learning_rate"],
            seed=words["seed"],
        ),
        workers=words["workers"],
        address=words["address"],
    )
