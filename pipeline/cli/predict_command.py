"""The command that has a head speak about an archive: ``predict``."""

import json
from dataclasses import asdict
from typing import TypedDict, Unpack

import click

from pipeline.cli.options import CONFIG, JSON
from pipeline.cluster.terminal import own_terminal
from pipeline.errors import UsageError
from pipeline.extract.progress import Display
from pipeline.extract.request import PredictRequest
from pipeline.records.periods import TIMES_HELP, Period


class PredictWords(TypedDict):
    """What the words of ``predict`` parse to, but for ``--json``."""

    lake: str
    head: str
    out: str
    since: str | None
    until: str | None
    address: str | None


def predict_request_of(words: PredictWords) -> PredictRequest:
    """What ``predict`` is asked for.

    Raises:
        UsageError: one of the words does not parse.
    """
    for name in ("lake", "out", "head"):
        if not words[name]:  # a variable of a script that is not set
            raise UsageError(f"{name if name == 'lake' else f'--{name}'} is empty: give a folder, or an address")
    since, until = (None if text is None else str(text) for text in (words["since"], words["until"]))
    return PredictRequest(
        lake=words["lake"],
        head=words["head"],
        out=words["out"],
        period=Period.parse(since, until),
        address=words["address"],
    )


@click.command()
@click.argument("lake")
@click.option("--head", required=True, metavar="HEADS/NAME[@VERSION]", help="Without a version, the one in use.")
@click.option("--out", required=True, metavar="URI", help="Where predictions/ goes: LAKE itself, or another place.")
@click.option("--since", metavar="T", help=f"What was recorded from then on: {TIMES_HELP}.")
@click.option("--until", metavar="T", help="What was recorded before then.")
@click.option("--address", metavar="A", help="A Ray cluster: auto or HOST:PORT. Without it a local one is started.")
@JSON
@CONFIG
def predict(*, is_json: bool, **words: Unpack[PredictWords]) -> int:
    """Have a head predict for the features of LAKE, where it has not yet: a row for each frame, window or video.

    LAKE is a dataset, or a folder of datasets of several models. A sample was recorded `time_s` after its video's
    creation_time; segments (of heads of frames) and videos (of others) with a sample between --since and --until are
    predicted whole, and videos without a creation_time are left out.
    """
    request = predict_request_of(words)
    from pipeline.cli.summary import describe_predicted
    from pipeline.extract.predict_job import run_predict

    with own_terminal(is_json=is_json):
        done = run_predict(request, Display())
    click.echo(json.dumps(asdict(done)) if is_json else describe_predicted(done))
    return 0
