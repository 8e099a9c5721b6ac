"""The command line: words in, exit status out. The one place that turns errors into messages."""

import contextlib
import json
import os
import signal
import sys
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any

import click
import stamina

from pipeline import __version__
from pipeline.cli.options import (
    BATCHES,
    CLUSTER,
    CONFIG,
    DATASET,
    INPUTS,
    JSON,
    LIMITS,
    MODEL,
    request_of,
    run_options_of,
)
from pipeline.cli.submitted_words import check_words
from pipeline.cluster.terminal import own_terminal
from pipeline.errors import RunError, UsageError
from pipeline.extract.progress import Display
from pipeline.records.resources import parse_size

_INTERRUPTED = 130
_TERMINATED = 143
_PLUGINS = "vidlake.commands"


class _Terminated(KeyboardInterrupt):
    """SIGTERM: stop as for Ctrl-C."""


def main() -> None:
    """Run ``vidlake`` and leave with its exit status."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    stamina.instrumentation.set_on_retry_hooks([])  # it would log each attempt to stderr
    try:
        status = cli(standalone_mode=False)
    except click.exceptions.Exit as error:
        status = error.exit_code
    except click.ClickException as error:
        status = _complain(error.format_message(), UsageError.exit_status)
    except RunError as error:
        status = _complain(str(error), error.exit_status)
    except _Terminated:
        status = _complain("terminated; run the same command again to resume", _TERMINATED)
    except (KeyboardInterrupt, click.Abort):
        status = _complain("interrupted; run the same command again to resume", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone
        status = 1
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    # What is to be given back has been given back; Ray's own leave-taking at exit may take longer than a user waits.
    os._exit(status or 0)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    raise _Terminated


def _complain(message: str, status: int) -> int:
    click.echo(f"vidlake: {' '.join(message.split())}", err=True)
    return status


class _Commands(click.Group):
    """Ours, and those that other packages bring under the entry points ``vidlake.commands``: ``serve``, of the server.

    They are imported when they are asked for; the batch side knows nothing of them.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group=_PLUGINS).names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        brought = () if own else entry_points(group=_PLUGINS, name=cmd_name)
        for entry in brought:
            command: click.Command = entry.load()
            return command
        return own


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="vidlake")
def cli() -> None:
    """Video archives become a Parquet lake of CNN features."""


@cli.command()
@INPUTS
@click.option("--out", required=True, metavar="URI", help="The dataset: a folder, s3://, gs://, az:// or abfs://.")
@DATASET
@CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything was quarantined.")
@JSON
@CONFIG
def extract(*, is_json: bool, **words: Any) -> int:
    """Run or resume: extract the features of every INPUT into a dataset.

    INPUT is a file, folder, glob, manifest (.csv, .parquet, .txt with a column or line `uri`), or a file:// or
    http(s):// address.
    """
    request = request_of(words)
    from pipeline.cli.summary import describe_outcome
    from pipeline.extract.jobs import (
        run_extract,  # imports Ray and torch: seconds that a slip of the finger need not cost
    )

    with own_terminal(is_json=is_json):
        outcome = run_extract(request, Display())
    click.echo(json.dumps(asdict(outcome)) if is_json else describe_outcome(outcome))
    return 3 if request.run.strict and outcome.totals.reasons else 0


@cli.command()
@INPUTS
@click.option("--out", metavar="URI", help="A dataset: tell only what is left to do.")
@DATASET
@CLUSTER
@JSON
@CONFIG
def plan(*, is_json: bool, **words: Any) -> int:
    """What would be done: videos, hours, samples, decode and model time, output size. Writes nothing."""
    request = request_of({"strict": False, **words})
    from pipeline.cli.summary import describe_forecast
    from pipeline.extract.jobs import forecast

    with own_terminal(is_json=is_json):
        found = forecast(request, Display(is_quiet=is_json))
    click.echo(json.dumps(asdict(found)) if is_json else describe_forecast(found))
    return 0


@cli.command()
@INPUTS
@MODEL
@BATCHES
@LIMITS
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True, metavar="S")
@JSON
@CONFIG
def bench(*, seconds: float, is_json: bool, **words: Any) -> int:
    """How fast this machine decodes INPUT and runs the model, and what the job would choose. Writes nothing.

    Decodes for about S seconds on one core, without Ray.
    """
    request = request_of({"out": None, "dtype": None, **words})
    from pipeline.cli.summary import describe_bench
    from pipeline.extract.bench import measure

    with own_terminal(is_json=is_json):
        found = measure(request, Display(is_quiet=is_json), seconds=seconds)
    click.echo(json.dumps(asdict(found)) if is_json else describe_bench(found))
    return 0


@cli.command()
@click.argument("uri")
@CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything is still quarantined.")
@JSON
@CONFIG
def retry(*, uri: str, is_json: bool, **words: Any) -> int:
    """Run again what was quarantined in the dataset at URI; only what is missing is added."""
    run = run_options_of(words)
    from pipeline.cli.summary import describe_outcome
    from pipeline.extract.jobs import run_retry

    with own_terminal(is_json=is_json):
        outcome = run_retry(uri, run, Display())
    click.echo(json.dumps(asdict(outcome)) if is_json else describe_outcome(outcome))
    return 3 if run.strict and outcome.totals.reasons else 0


@cli.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--address", required=True, metavar="URL", help="The cluster's job server: http://HEAD:8265.")
@click.option("--working-dir", default=".", show_default=True, type=click.Path(exists=True, file_okay=False))
@click.option("--detach", is_flag=True, help="Print the job's id and leave it running.")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="extract|retry WORDS...")
@click.pass_context
def submit(context: click.Context, *, address: str, working_dir: str, detach: bool, words: tuple[str, ...]) -> int:
    """Run `extract` or `retry` as a job of a Ray cluster, and leave with its exit status.

    Uploads the working dir, which is where the job runs, but for what .gitignore and .rayignore name, and follows the
    job's log. The same again resumes it. Ctrl-C leaves it running. Environment variables are not sent along.
    """
    name, *rest = words
    with contextlib.chdir(working_dir):
        is_json = check_words(cli.get_command(context, name), rest)
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
        told = f"the job goes on; to follow it: ray job logs --follow {where}; to stop it: ray job stop {where}"
        return _complain(told, _INTERRUPTED)
    if is_json and job_status in (0, 3):
        click.echo(last)
    return job_status


@cli.command()
@click.argument("uri")
@click.option("--out", required=True, metavar="NEW", help="The folder of the new dataset.")
@click.option("--file-size", default="256MiB", show_default=True, metavar="BYTES", help="Of a features file, about.")
@JSON
@CONFIG
def compact(*, uri: str, out: str, file_size: str, is_json: bool) -> int:
    """Write the dataset at URI anew in large files, sorted by video; the old one is left as it is.

    What is settled when the command starts is what NEW gets; run again, it adds what came since. While it runs, NEW
    takes up to twice the space.
    """
    file_bytes = parse_size(file_size)
    from pipeline.cli.summary import describe_compacted
    from pipeline.lake.compaction.compact import run_compact

    done = run_compact(uri, out, file_bytes=file_bytes, say=Display(is_quiet=is_json).say)
    click.echo(json.dumps(asdict(done)) if is_json else describe_compacted(done))
    return 0


@cli.command()
@click.argument("uri")
@JSON
def status(*, uri: str, is_json: bool) -> int:
    """What is in the dataset at URI: done, partial, quarantined, rows, configuration."""
    from pipeline.cli.summary import describe_status
    from pipeline.lake.tables import read_status

    info, totals = read_status(uri)
    document = {"uri": uri, **asdict(totals), "config": info.to_json()}
    click.echo(json.dumps(document) if is_json else describe_status(uri, info, totals))
    return 0


@cli.command()
@JSON
def models(*, is_json: bool) -> int:
    """The names that --model knows, the length of their features, and what their default weights are."""
    from pipeline.models.registry import list_models

    entries = list(list_models())
    if is_json:
        click.echo(json.dumps([asdict(entry) for entry in entries]))
    else:
        for entry in entries:
            click.echo(f"{entry.name:<28} {entry.dim or '':>5}  {entry.weights}")
    return 0
