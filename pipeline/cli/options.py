"""The options that commands share, and the typed values that their words become."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import yaml

from pipeline.errors import UsageError
from pipeline.extract.request import ExtractRequest, RunOptions
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.model_info import FeatureType, Precision
from pipeline.records.resources import DecodeLimits, parse_size
from pipeline.records.shards import Shard
from pipeline.storage.addresses import canonical_uri, scheme_of

Command = TypeVar("Command", bound=Callable[..., Any])


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


JSON = click.option("--json", "is_json", is_flag=True, help="One JSON document on stdout, nothing else there.")
CONFIG = click.option(
    "--config", callback=_read_config, is_eager=True, expose_value=False, metavar="FILE", help="These options, as YAML."
)
MODEL = _options(
    click.option("--model", default="efficientnet_lite0", show_default=True, help="See `vidlake models`."),
    click.option("--weights", default="default", show_default=True, help="default, random:SEED, or a file."),
    click.option("--sample", default="fps:1", show_default=True, help="fps:R, every:N, all, keyframes or uniform:N."),
    click.option("--precision", type=click.Choice(get_args(Precision)), help="fp32 on CPU, fp16 on GPU."),
)
BATCHES = _options(
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Pictures that the model sees at once."),
    click.option("--compile", is_flag=True, help="Compile the model with torch.compile."),
)
LIMITS = _options(
    click.option(
        "--decode-timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="A segment's limit."
    ),
    click.option("--decode-memory", default="2GiB", show_default=True, metavar="BYTES", help="A decoder's limit."),
    click.option("--max-pixels", type=click.IntRange(min=1), default=64_000_000, show_default=True, metavar="N"),
)
CLUSTER = _options(
    click.option("--decode-workers", type=click.IntRange(min=1), metavar="N", help="Decoders at once."),
    click.option("--gpu-actors", type=click.IntRange(min=1), metavar="N", help="Actors that hold the model."),
    BATCHES,
    click.option("--rows-per-file", type=click.IntRange(min=1), metavar="N", help="Rows of a features file, about."),
    LIMITS,
    click.option("--address", metavar="A", help="A Ray cluster: auto or HOST:PORT. Without it a local one is started."),
    click.option("--min-cpus", type=click.IntRange(min=1), metavar="N", help="Have the cluster grow to N CPUs first."),
    click.option("--min-gpus", type=click.IntRange(min=1), metavar="N", help="Have the cluster grow to N GPUs first."),
)
DATASET = _options(
    MODEL,
    click.option("--dtype", type=click.Choice(get_args(FeatureType)), help="Of the stored feature.  [float32]"),
    click.option("--segment-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Target length."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N videos."),
    click.option("--shard", default="1/1", show_default=True, metavar="I/N", help="Part I of N of the input."),
)
INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")


def request_of(words: dict[str, Any]) -> ExtractRequest:
    """What the words of ``INPUTS``, ``DATASET`` and ``CLUSTER`` ask for.

    Raises:
        UsageError: one of them does not parse.
    """
    weights = words["weights"]  # a dataset records them: no secret may come along
    return ExtractRequest(
        inputs=tuple(words["inputs"]),
        out=words["out"] or "",
        model=words["model"],
        weights=weights if scheme_of(weights) == "file" else canonical_uri(weights),
        rule=parse_rule(str(words["sample"])),
        precision=words["precision"],
        dtype=words["dtype"],
        run=run_options_of(words),
    )


def run_options_of(words: dict[str, Any]) -> RunOptions:
    """What the words of ``CLUSTER`` ask for; raises as ``request_of`` does."""
    if words.get("address") is None and (words.get("min_cpus") or words.get("min_gpus")):
        raise UsageError("--min-cpus and --min-gpus are of a cluster: give its --address")
    limits = DecodeLimits(
        timeout_s=words["decode_timeout"],
        memory_bytes=parse_size(str(words["decode_memory"])),
        max_pixels=words["max_pixels"],
    )
    plain = {field.name: words[field.name] for field in fields(RunOptions) if field.name in words}
    return RunOptions(**{**plain, "limits": limits, "shard": Shard.parse(str(words.get("shard", "1/1")))})
