"""The command ``shots``."""

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack, get_args

import click

from pipeline.cli.options import CLUSTER, CONFIG, INPUTS, JSON, ClusterWords, run_options_of
from pipeline.cluster.terminal import own_terminal
from pipeline.errors import UsageError
from pipeline.extract.progress import Display
from pipeline.records.model_info import Precision
from pipeline.records.shards import Shard

if TYPE_CHECKING:
    from pipeline.extract.shots import ShotsRequest


class ShotsWords(ClusterWords):
    """What the words of ``shots`` parse to."""

    inputs: tuple[str, ...]
    out: str
    precision: Precision | None
    segment_seconds: float | None
    limit: int | None
    shard: str


def shots_request_of(words: ShotsWords) -> "ShotsRequest":
    """What ``shots`` is asked for.

    Raises:
        UsageError: one of the words does not parse.
    """
    from pipeline.extract.shots import ShotsRequest

    if words["out"] == "":  # a variable of a script that is not set
        raise UsageError("--out is empty: give a folder, s3://, gs://, az:// or abfs(s)://")
    run = replace(
        run_options_of(words),
        segment_seconds=words["segment_seconds"],
        limit=words["limit"],
        shard=Shard.parse(str(words["shard"])),
    )
    return ShotsRequest(inputs=tuple(words["inputs"]), out=words["out"], precision=words["precision"], run=run)


@click.command()
@INPUTS
@click.option("--out", required=True, metavar="URI", help="The lake that gets the table shots; it may hold features.")
@click.option("--precision", type=click.Choice(get_args(Precision)), help="fp32 on CPU, fp16 on GPU.")
@click.option("--segment-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Target length.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N videos.")
@click.option("--shard", default="1/1", show_default=True, metavar="I/N", help="Part I of N of the input.")
@CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything was quarantined.")
@JSON
@CONFIG
def shots(*, is_json: bool, **words: Unpack[ShotsWords]) -> int:
    """Run or resume: find the shots of every INPUT by TransNetV2, which sees every frame.

    INPUT is as for `vidlake extract`. The table says when each shot begins and ends, and whether by a cut or gradually;
    `vidlake extract --sample shots:N` picks frames by it.
    """
    request = shots_request_of(words)
    from pipeline.cli.summary import describe_outcome
    from pipeline.extract.shots import run_shots

    with own_terminal(is_json=is_json):
        outcome = run_shots(request, Display())
    click.echo(json.dumps(outcome.to_json()) if is_json else describe_outcome(outcome))
    return 3 if request.run.strict and outcome.has_quarantined else 0
