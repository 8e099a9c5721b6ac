"""The command line: words in, exit status out. The one place that turns errors into messages."""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, get_args

import click
import stamina
import yaml

from pipeline import __version__
from pipeline.config import ExtractRequest, RunOptions, Shard, parse_size
from pipeline.errors import RunError, UsageError
from pipeline.progress import Display
from pipeline.records import DecodeLimits, FeatureType, Precision
from pipeline.sampling import SamplingRule
from pipeline.terminal import own_terminal

_INTERRUPTED = 130
_TERMINATED = 143
_PLUGINS = "vidlake.commands"
Command = TypeVar("Command", bound=Callable[..., Any])


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


def _read_config(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Make the YAML file's values the defaults of the command."""
    if path is None:
        return
    try:
        document = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(f"cannot read --config {path}: {reason}") from None
    if document is None:
        return
    if not isinstance(document, dict):
        raise UsageError(f"--config {path}: expected one 'option: value' a line")
    known = {parameter.name for parameter in context.command.params} - {"config"}
    values = {str(key).lstrip("-").replace("-", "_"): value for key, value in document.items()}
    values = {"inputs" if key == "input" else key: value for key, value in values.items()}
    unknown = sorted(set(values) - known)
    if unknown:
        names = ", ".join(sorted(str(name).replace("_", "-") for name in known))
        raise UsageError(f"--config {path}: unknown key {unknown[0]!r}; known are {names}")
    context.default_map = {**(context.default_map or {}), **values}


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_JSON = click.option("--json", "is_json", is_flag=True, help="One JSON document on stdout, nothing else there.")
_CONFIG = click.option(
    "--config", callback=_read_config, is_eager=True, expose_value=False, metavar="FILE", help="These options, as YAML."
)
_MODEL = _options(
    click.option("--model", default="efficientnet_lite0", show_default=True, help="See `vidlake models`."),
    click.option("--weights", default="default", show_default=True, help="default, random:SEED, or a file."),
    click.option("--sample", default="fps:1", show_default=True, help="fps:R, every:N, all, keyframes or uniform:N."),
    click.option("--precision", type=click.Choice(get_args(Precision)), help="fp32 on CPU, fp16 on GPU."),
)
_BATCHES = _options(
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Pictures that the model sees at once."),
    click.option("--compile", is_flag=True, help="Compile the model with torch.compile."),
)
_LIMITS = _options(
    click.option(
        "--decode-timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="A segment's limit."
    ),
    click.option("--decode-memory", default="2GiB", show_default=True, metavar="BYTES", help="A decoder's limit."),
    click.option("--max-pixels", type=click.IntRange(min=1), default=64_000_000, show_default=True, metavar="N"),
)
_CLUSTER = _options(
    click.option("--decode-workers", type=click.IntRange(min=1), metavar="N", help="Decoders at once."),
    click.option("--gpu-actors", type=click.IntRange(min=1), metavar="N", help="Actors that hold the model."),
    _BATCHES,
    click.option("--rows-per-file", type=click.IntRange(min=1), metavar="N", help="Rows of a features file, about."),
    _LIMITS,
    click.option("--address", metavar="A", help="A Ray cluster: auto or HOST:PORT. Without it a local one is started."),
)
_DATASET = _options(
    _MODEL,
    click.option("--dtype", type=click.Choice(get_args(FeatureType)), help="Of the stored feature.  [float32]"),
    click.option("--segment-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Target length."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N videos."),
    click.option("--shard", default="1/1", show_default=True, metavar="I/N", help="Part I of N of the input."),
)
_INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")


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
@_INPUTS
@click.option("--out", required=True, metavar="URI", help="The dataset's folder.")
@_DATASET
@_CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything was quarantined.")
@_JSON
@_CONFIG
def extract(*, is_json: bool, **words: Any) -> int:
    """Run or resume: extract the features of every INPUT into a dataset.

    INPUT is a file, folder, glob, manifest (.csv, .parquet, .txt with a column or line `uri`), or a file:// or
    http(s):// address.
    """
    request = _request(words)
    from pipeline.jobs import run_extract  # imports Ray and torch: seconds that a slip of the finger need not cost
    from pipeline.summary import describe_outcome

    with own_terminal(is_json=is_json):
        outcome = run_extract(request, Display())
    click.echo(json.dumps(asdict(outcome)) if is_json else describe_outcome(outcome))
    return 3 if request.run.strict and outcome.totals.reasons else 0


@cli.command()
@_INPUTS
@click.option("--out", metavar="URI", help="A dataset: tell only what is left to do.")
@_DATASET
@_CLUSTER
@_JSON
@_CONFIG
def plan(*, is_json: bool, **words: Any) -> int:
    """What would be done: videos, hours, samples, decode and model time, output size. Writes nothing."""
    request = _request({"strict": False, **words})
    from pipeline.jobs import forecast
    from pipeline.summary import describe_forecast

    with own_terminal(is_json=is_json):
        found = forecast(request, Display(is_quiet=is_json))
    click.echo(json.dumps(asdict(found)) if is_json else describe_forecast(found))
    return 0


@cli.command()
@_INPUTS
@_MODEL
@_BATCHES
@_LIMITS
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=20.0, show_default=True, metavar="S")
@_JSON
@_CONFIG
def bench(*, seconds: float, is_json: bool, **words: Any) -> int:
    """How fast this machine decodes INPUT and runs the model, and what the job would choose. Writes nothing.

    Decodes for about S seconds on one core, without Ray.
    """
    request = _request({"out": None, "dtype": None, **words})
    from pipeline.bench import measure
    from pipeline.summary import describe_bench

    with own_terminal(is_json=is_json):
        found = measure(request, Display(is_quiet=is_json), seconds=seconds)
    click.echo(json.dumps(asdict(found)) if is_json else describe_bench(found))
    return 0


@cli.command()
@click.argument("uri")
@_CLUSTER
@click.option("--strict", is_flag=True, help="Exit with 3 where anything is still quarantined.")
@_JSON
@_CONFIG
def retry(*, uri: str, is_json: bool, **words: Any) -> int:
    """Run again what was quarantined in the dataset at URI; only what is missing is added."""
    run = _run_options(words)
    from pipeline.jobs import run_retry
    from pipeline.summary import describe_outcome

    with own_terminal(is_json=is_json):
        outcome = run_retry(uri, run, Display())
    click.echo(json.dumps(asdict(outcome)) if is_json else describe_outcome(outcome))
    return 3 if run.strict and outcome.totals.reasons else 0


@cli.command()
@click.argument("uri")
@_JSON
def status(*, uri: str, is_json: bool) -> int:
    """What is in the dataset at URI: done, partial, quarantined, rows, configuration."""
    from pipeline.jobs import read_status
    from pipeline.summary import describe_status

    info, totals = read_status(uri)
    document = {"uri": uri, **asdict(totals), "config": info.to_json()}
    click.echo(json.dumps(document) if is_json else describe_status(uri, info, totals))
    return 0


@cli.command()
@_JSON
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


def _request(words: dict[str, Any]) -> ExtractRequest:
    return ExtractRequest(
        inputs=tuple(words["inputs"]),
        out=words["out"] or "",
        model=words["model"],
        weights=words["weights"],
        rule=SamplingRule.parse(str(words["sample"])),
        precision=words["precision"],
        dtype=words["dtype"],
        run=_run_options(words),
    )


def _run_options(words: dict[str, Any]) -> RunOptions:
    limits = DecodeLimits(
        timeout_s=words["decode_timeout"],
        memory_bytes=parse_size(str(words["decode_memory"])),
        max_pixels=words["max_pixels"],
    )
    plain = {field.name: words[field.name] for field in fields(RunOptions) if field.name in words}
    return RunOptions(**{**plain, "limits": limits, "shard": Shard.parse(str(words.get("shard", "1/1")))})
