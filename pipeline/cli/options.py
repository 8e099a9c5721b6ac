"""The options that commands share, and the typed values that their words become."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NotRequired, TypedDict, TypeVar, get_args

import click

from pipeline.cli.config_file import read_config
from pipeline.errors import UsageError
from pipeline.extract.request import ExtractRequest, ModelChoice, RunOptions
from pipeline.media.sampling.rules import parse_rule
from pipeline.media.sampling.shots import ShotsRule
from pipeline.records.model_info import FeatureType, Precision, folder_of
from pipeline.records.resources import DecodeLimits, parse_size
from pipeline.records.shards import Shard
from pipeline.records.windows import Windows
from pipeline.storage.addresses import canonical_uri, scheme_of

DEFAULT_MODEL = "efficientnet_lite0"

Command = TypeVar("Command", bound=Callable[..., Any])


def options(*several: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def decorate(command: Command) -> Command:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


JSON = click.option("--json", "is_json", is_flag=True, help="One JSON document on stdout, nothing else there.")
CONFIG = click.option(
    "--config", callback=read_config, is_eager=True, expose_value=False, metavar="FILE", help="These options, as YAML."
)
SAMPLING = options(
    click.option(
        "--sample", default="fps:1", show_default=True, help="fps:R, every:N, all, keyframes, uniform:N, shots:N."
    ),
    click.option(
        "--window", metavar="N[/STRIDE]", help="Samples of a clip, for models of clips.  [16, or the model's]"
    ),
    click.option("--precision", type=click.Choice(get_args(Precision)), help="fp32 on CPU, fp16 on GPU."),
)
_WEIGHTS = click.option("--weights", metavar="W", help="default, random:SEED, or a file.  [default]")
MODEL = options(
    click.option("--model", default=DEFAULT_MODEL, show_default=True, help="See `vidlake models`."), _WEIGHTS, SAMPLING
)
MODELS = options(
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="NAME[=WEIGHTS]",
        help=f"See `vidlake models`; several give a dataset each, OUT/NAME.  [{DEFAULT_MODEL}]",
    ),
    _WEIGHTS,
    SAMPLING,
)
BATCHES = options(
    click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Pictures that the model sees at once."),
    click.option("--compile", is_flag=True, help="Compile the model with torch.compile."),
)
LIMITS = options(
    click.option(
        "--decode-timeout", type=click.FloatRange(min=0, min_open=True), metavar="S", help="A segment's limit."
    ),
    click.option("--decode-memory", default="2GiB", show_default=True, metavar="BYTES", help="A decoder's limit."),
    click.option("--max-pixels", type=click.IntRange(min=1), default=64_000_000, show_default=True, metavar="N"),
)
CLUSTER = options(
    click.option("--decode-workers", type=click.IntRange(min=1), metavar="N", help="Decoders at once."),
    click.option("--gpu-actors", type=click.IntRange(min=1), metavar="N", help="Actors that hold the model."),
    BATCHES,
    click.option(
        "--rows-per-file",
        type=click.IntRange(min=1),
        metavar="N",
        help="Rows of a features file, about, or what one decode task makes where that is more.",
    ),
    LIMITS,
    click.option("--address", metavar="A", help="A Ray cluster: auto or HOST:PORT. Without it a local one is started."),
    click.option("--min-cpus", type=click.IntRange(min=1), metavar="N", help="Have the cluster grow to N CPUs first."),
    click.option("--min-gpus", type=click.IntRange(min=1), metavar="N", help="Have the cluster grow to N GPUs first."),
)
DATASET = options(
    MODELS,
    click.option("--dtype", type=click.Choice(get_args(FeatureType)), help="Of the stored feature.  [float32]"),
    click.option(
        "--thumbnails",
        type=click.IntRange(1, 4096),
        metavar="PX",
        help="A JPEG of each sample besides, PX long at most.",
    ),
    click.option("--shots", metavar="URI", help="The lake whose shots --sample shots:N goes by.  [--out]"),
    click.option("--segment-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Target length."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N videos."),
    click.option("--shard", default="1/1", show_default=True, metavar="I/N", help="Part I of N of the input."),
)
INPUTS = click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")


class LimitWords(TypedDict):
    """What ``LIMITS`` parses to."""

    decode_timeout: float | None
    decode_memory: str
    max_pixels: int


class BatchWords(TypedDict):
    """What ``BATCHES`` parses to."""

    batch_size: int | None
    compile: bool


class ClusterWords(BatchWords, LimitWords):
    """What ``CLUSTER`` parses to, with ``--strict`` where the command has it."""

    decode_workers: int | None
    gpu_actors: int | None
    rows_per_file: int | None
    address: str | None
    min_cpus: int | None
    min_gpus: int | None
    strict: NotRequired[bool]


class SamplingWords(TypedDict):
    """What ``INPUTS`` and ``SAMPLING`` parse to, with the weights of a single model."""

    inputs: tuple[str, ...]
    weights: str | None
    sample: str
    window: str | int | None
    precision: Precision | None


class ExtractWords(SamplingWords, ClusterWords):
    """What ``INPUTS``, ``DATASET`` and ``CLUSTER`` parse to, with ``--out``."""

    models: tuple[str, ...]
    out: str | None
    dtype: FeatureType | None
    thumbnails: int | None
    shots: str | None
    segment_seconds: float | None
    limit: int | None
    shard: str


class BenchWords(SamplingWords, BatchWords, LimitWords):
    """What ``INPUTS``, ``MODEL``, ``BATCHES`` and ``LIMITS`` parse to."""

    model: str


def request_of(words: ExtractWords) -> ExtractRequest:
    """What ``extract`` and ``plan`` are asked for.

    Raises:
        UsageError: one of the words does not parse.
    """
    if words["out"] == "":  # a variable of a script that is not set
        raise UsageError("--out is empty: give a folder, s3://, gs://, az:// or abfs(s)://")
    cluster = run_options_of(words)
    run = replace(
        cluster,
        segment_seconds=words["segment_seconds"],
        limit=words["limit"],
        shard=Shard.parse(str(words["shard"])),
        shots=words["shots"],
    )
    models = models_of(words["models"] or (DEFAULT_MODEL,), weights=words["weights"])
    request = _request(words, models, out=words["out"] or "", dtype=words["dtype"], run=run)
    if words["shots"] is not None and not isinstance(request.rule, ShotsRule):
        raise UsageError(f"--shots goes with --sample shots:N, and not with {request.rule}")
    return replace(request, thumbnail_px=words["thumbnails"])


def bench_request_of(words: BenchWords) -> ExtractRequest:
    """What ``bench`` is asked for: an ``extract`` without a dataset; raises as ``request_of`` does."""
    run = RunOptions(batch_size=words["batch_size"], compile=words["compile"], limits=_limits(words))
    models = models_of((words["model"],), weights=words["weights"])
    return _request(words, models, out="", dtype=None, run=run)


def models_of(words: Sequence[str], *, weights: str | None) -> tuple[ModelChoice, ...]:
    """The models of some words, each ``NAME`` or ``NAME=WEIGHTS``.

    Raises:
        UsageError: two of them would have one folder, or ``weights`` is given where it says nothing.
    """
    choices = []
    for word in words:
        name, has_own, own = word.partition("=")
        if not name or (has_own and not own):
            raise UsageError(f"bad --model {word!r}: use NAME or NAME=WEIGHTS")
        if weights is not None and (has_own or len(words) > 1):
            raise UsageError("--weights is of a single model: give each its own by --model NAME=WEIGHTS")
        chosen = own or weights or "default"  # a dataset records them: no secret may come along
        clean = chosen if scheme_of(chosen) == "file" else canonical_uri(chosen)
        choices.append(ModelChoice(name=name, weights=clean))
    folders = [folder_of(choice.name) for choice in choices]
    for folder in folders:
        if folders.count(folder) > 1:
            raise UsageError(f"two models would share the folder {folder}: give each once, or several --out")
    return tuple(choices)


def run_options_of(words: ClusterWords) -> RunOptions:
    """What the words of ``CLUSTER`` ask for; raises as ``request_of`` does."""
    if words["address"] is None and (words["min_cpus"] or words["min_gpus"]):
        raise UsageError("--min-cpus and --min-gpus are of a cluster: give its --address")
    return RunOptions(
        batch_size=words["batch_size"],
        compile=words["compile"],
        decode_workers=words["decode_workers"],
        gpu_actors=words["gpu_actors"],
        rows_per_file=words["rows_per_file"],
        limits=_limits(words),
        address=words["address"],
        min_cpus=words["min_cpus"],
        min_gpus=words["min_gpus"],
        strict=words.get("strict", False),
    )


def _request(
    words: SamplingWords, models: tuple[ModelChoice, ...], *, out: str, dtype: FeatureType | None, run: RunOptions
) -> ExtractRequest:
    return ExtractRequest(
        inputs=tuple(words["inputs"]),
        out=out,
        models=models,
        rule=parse_rule(str(words["sample"])),
        precision=words["precision"],
        dtype=dtype,
        run=run,
        windows=None if words["window"] is None else Windows.parse(str(words["window"])),
    )


def _limits(words: LimitWords) -> DecodeLimits:
    return DecodeLimits(
        timeout_s=words["decode_timeout"],
        memory_bytes=parse_size(str(words["decode_memory"])),
        max_pixels=words["max_pixels"],
    )
