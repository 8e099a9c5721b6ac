"""The commands that run a bulk job: ``extract``, ``plan``, ``bench``, ``retry``, ``submit``.

Ray and torch take seconds to import. A slip of the finger need not cost them: a command imports what does the work
once its words are understood.
"""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

import click

from pipeline.cli.exit_status import INTERRUPTED, complain
from pipeline.cli.finetune_command import finetune
from pipeline.cli.options import (
    BATCHES,
    CLUSTER,
    CONFIG,
    DATASET,
    INPUTS,
    JSON,
    LIMITS,
    MODEL,
    BenchWords,
    ClusterWords,
    ExtractWords,
    bench_request_of,
    request_of,
    run_options_of,
)
from pipeline.cli.predict_command import predict
from pipeline.cli.shots_command import shots
from pipeline.cli.submitted_words import check_words
from pipeline.cluster.terminal import own_terminal
from pipeline.extract.progress import Display


@click.command()
@INPUTS
@click.option("--out", required=True, metavar="URI", help="The dataset: a folder, s3://, gs://, az:// or abfs://.")
@DATASET
@CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything was quarantined.")
@JSON
@CONFIG
def extract(*, is_json: bool, **words: Unpack[ExtractWords]) -> int:
    """Run or resume: extract the features of every INPUT into a dataset.

    INPUT is a file, folder, glob, manifest (.csv, .parquet, .txt with a column or line `uri`), or a file:// or
    http(s):// address.
    """
    request = request_of(words)
    from pipeline.cli.summary import describe_outcome
    from pipeline.extract.jobs import run_extract

    with own_terminal(is_json=is_json):
        outcome = run_extract(request, Display())
    click.echo(json.dumps(outcome.to_json()) if is_json else describe_outcome(outcome))
    return 3 if request.run.strict and outcome.has_quarantined else 0


@click.command()
@INPUTS
@click.option("--out", metavar="URI", help="A dataset: tell only what is left to do.")
@DATASET
@CLUSTER
@JSON
@CONFIG
def plan(*, is_json: bool, **words: Unpack[ExtractWords]) -> int:
    """What would be done: videos, hours, samples, decode and model time, output size. Writes nothing."""
    request = request_of(words)
    from pipeline.cli.summary import describe_forecast
    from pipeline.extract.jobs import forecast

    with own_terminal(is_json=is_json):
        found = forecast(request, Display(is_quiet=is_json))
    click.echo(json.dumps(asdict(found)) if is_json else describe_forecast(found))
    return 0


@click.command()
@INPUTS
@MODEL
@BATCHES
@LIMITS
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True, metavar="S")
@JSON
@CONFIG
def bench(*, seconds: float, is_json: bool, **words: Unpack[BenchWords]) -> int:
    """How fast this machine decodes INPUT and runs the model, and what the job would choose. Writes nothing.

    Decodes for about S seconds on one core, without Ray.
    """
    request = bench_request_of(words)
    from pipeline.cli.summary import describe_bench
    from pipeline.extract.bench import measure

    with own_terminal(is_json=is_json):
        found = measure(request, Display(is_quiet=is_json), seconds=seconds)
    click.echo(json.dumps(asdict(found)) if is_json else describe_bench(found))
    return 0


@click.command()
@click.argument("uri")
@click.option("--model", help="The dataset's own, where it is a module:factory: repeated if you trust it.")
@click.option("--weights", help="The dataset's own, where they are a file: repeated, or where they lie now.")
@CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything is still quarantined.")
@JSON
@CONFIG
def retry(*, uri: str, model: str | None, weights: str | None, is_json: bool, **words: Unpack[ClusterWords]) -> int:
    """Run again what was quarantined in the dataset at URI, or in those of several models there.

    Only what is missing is added.
    """
    run = run_options_of(words)
    from pipeline.cli.summary import describe_outcome
    from pipeline.extract.jobs import run_retry

    with own_terminal(is_json=is_json):
        outcome = run_retry(uri, run, Display(), model=model, weights=weights)
    click.echo(json.dumps(outcome.to_json()) if is_json else describe_outcome(outcome))
    return 3 if run.strict and outcome.has_quarantined else 0


COMMANDS = {"extract": extract, "retry": retry, "predict": predict, "finetune": finetune, "shots": shots}
"""What ``submit`` runs on a cluster."""


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--address", required=True, metavar="URL", help="The cluster's job server: http://HEAD:8265.")
@click.option("--working-dir", default=".", show_default=True, type=click.Path(exists=True, file_okay=False))
@click.option("--detach", is_flag=True, help="Print the job's id and leave it running.")
@click.argument(
    "words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="extract|retry|predict|finetune|shots WORDS..."
)
def submit(*, address: str, working_dir: str, detach: bool, words: tuple[str, ...]) -> int:
    """Run one of these commands as a job of a Ray cluster, and leave with its exit status.

    Uploads the working dir, which is where the job runs, but for what .gitignore and .rayignore name, and follows the
    job's log. The same again resumes it. Ctrl-C leaves it running. Environment variables are not sent along.
    """
    name, *rest = words
    with contextlib.chdir(working_dir):
        is_json = check_words(COMMANDS.get(name), rest)
    from pipeline.cluster.submit import JobServer

    job = JobServer(address).submit([name, "--address", "auto", *rest], working_dir=Path(working_dir).absolute())
    if detach:
        click.echo(json.dumps({"submission_id": job.submission_id}) if is_json else job.submission_id)
        return 0
    click.echo(f"job {job.submission_id} on {job.address}", err=True)
    try:
        last = ""
        for last in job.lines():
            click.echo(last, err=is_json)
        job_status = job.exit_status()
    except KeyboardInterrupt:
        where = f"{job.submission_id} --address {job.address}"
        message = f"the job goes on; to follow it: ray job logs --follow {where}; to stop it: ray job stop {where}"
        return complain(message, INTERRUPTED)
    if is_json and job_status in (0, 3):
        click.echo(last)
    return job_status
