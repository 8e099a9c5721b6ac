"""The commands about heads: ``train``, ``evaluate``, ``heads``.

Torch and scikit-learn take seconds to import: a command imports what does the work once its words are understood.
"""

import json
from dataclasses import asdict
from typing import Literal, Unpack

import click

from pipeline.cli.head_words import (
    FITTING,
    LABELS,
    LEARNING,
    SPLIT,
    TrainWords,
    require_words,
    train_request_of,
)
from pipeline.cli.options import CONFIG, JSON
from pipeline.extract.progress import Display


@click.command()
@click.argument("lake")
@click.option("--out", required=True, metavar="HEADS/NAME", help="The head; each training adds a version to it.")
@LABELS
@LEARNING
@SPLIT
@FITTING
@click.option("--no-use", is_flag=True, help="Leave the version in use as it is.")
@click.option("--again", is_flag=True, help="Make a version even where the same words have made one.")
@click.option("--dry-run", is_flag=True, help="End with the report on the labels; write nothing.")
@JSON
@CONFIG
def train(*, dry_run: bool, is_json: bool, **words: Unpack[TrainWords]) -> int:
    """Train a head on the features of LAKE: a new version of HEADS/NAME, with its scores and a model card.

    LAKE is a dataset, or a folder of datasets of several models. Labels are rows with `uri` (or a file's name, or a
    glob) or `video_id`, the label, and perhaps `start_s`, `end_s` and `split` (train, validation, test). Killed and run
    again it goes on; the same command once more says that it is done.
    """
    request = train_request_of(words)
    display = Display()
    if dry_run:
        from pipeline.training.first_look import look_at_labels

        report = look_at_labels(request, say=display.say if is_json else click.echo)
        if is_json:
            click.echo(json.dumps(report.to_json()))
        return 0
    from pipeline.cli.head_summary import describe_trained
    from pipeline.training.train import train as train_head

    trained = train_head(request, say=display.say)
    click.echo(json.dumps(asdict(trained)) if is_json else describe_trained(trained))
    return 0


@click.command()
@click.argument("head", metavar="HEADS/NAME[@VERSION]")
@click.argument("lake")
@LABELS
@click.option(
    "--on",
    type=click.Choice(["test", "validation", "train", "all"]),
    default="test",
    show_default=True,
    help="Which part, by the split of the training; all: whatever has a label.",
)
@click.option(
    "--live", metavar="URL", help="Of a server: post the same videos there, with VIDLAKE_API_KEY, and compare."
)
@click.option("--out", metavar="FOLDER", help="Gets metrics.json and confusion.png.")
@JSON
@CONFIG
def evaluate(
    *,
    head: str,
    lake: str,
    labels: str | None,
    label: str,
    on: Literal["test", "validation", "train", "all"],
    live: str | None,
    out: str | None,
    is_json: bool,
) -> int:
    """Measure a head on the labelled units of LAKE."""
    require_words(HEAD=head, LAKE=lake, labels=labels, label=label, live=live, out=out)
    from pipeline.cli.head_summary import describe_evaluated
    from pipeline.training.evaluate import EvaluateRequest
    from pipeline.training.evaluate import evaluate as evaluate_head

    request = EvaluateRequest(head=head, lake=lake, labels_file=labels, label_column=label, on=on, out=out, live=live)
    evaluated = evaluate_head(request, say=Display().say)
    click.echo(json.dumps(evaluated.to_json()) if is_json else describe_evaluated(evaluated))
    return 0


@click.command()
@click.argument("heads", metavar="HEADS[/NAME]")
@click.option("--use", "version", type=click.IntRange(min=1), metavar="VERSION", help="Of HEADS/NAME: use this one.")
@JSON
@CONFIG
def heads(*, heads: str, version: int | None, is_json: bool) -> int:
    """Every head in HEADS, its versions, labels and score, and which version is in use.

    A server notices within seconds that another version is in use. Going back to an older one is the same command.
    """
    require_words(HEADS=heads)
    from pipeline.training.listing import list_heads, use_version

    if version is not None:
        before = use_version(heads, version)
        document = {"head": heads, "current": version, "before": before}
        said = f"{heads}: version {version} is in use" + (
            "" if before in (None, version) else f", and {before} no more"
        )
        click.echo(json.dumps(document) if is_json else said)
        return 0
    listed = list_heads(heads)
    if is_json:
        click.echo(json.dumps({"heads": [asdict(head) for head in listed]}))
        return 0
    from pipeline.cli.head_summary import print_heads

    print_heads(listed)
    return 0
