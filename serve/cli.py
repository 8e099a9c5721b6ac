"""``vidlake serve``: a command line in, a server until Ctrl-C."""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from pydantic import ValidationError

from pipeline.cluster.terminal import own_terminal
from pipeline.errors import UsageError
from pipeline.lake.model_folders import existing_dataset
from pipeline.lake.trust import trusted
from pipeline.records.extras import require_extra
from pipeline.records.model_info import Precision
from pipeline.records.resources import parse_duration, parse_size
from pipeline.records.windows import Windows
from pipeline.storage.addresses import is_in_bucket, is_local, local_path
from serve.cameras.sources import check_cameras
from serve.inference.head_backbones import folder_at, model_of_heads, require_head
from serve.settings import Access, CameraSettings, HeadSettings, Limits, ModelSettings, Settings

if TYPE_CHECKING:
    from serve.local import Listening

_DEFAULT_MODEL = ModelSettings().name
_COUNT = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--from", "source", metavar="URI", help="A dataset: serve the model that made it.")
@click.option("--lake", metavar="URI", help="A dataset to search and to show on the page, by the model that made it.")
@click.option("--heads", metavar="HEADS", help="A folder of trained heads; without --from and --model, their model.")
@click.option("--default-head", metavar="NAME", help="Answers /score and the WebSocket where no head is named.")
@click.option("--model", help=f"See `vidlake models`.  [{_DEFAULT_MODEL}]")
@click.option("--weights", help="default, random:SEED, or a file.  [default]")
@click.option("--window", metavar="N[/STRIDE]", help="Samples of a clip, for models of clips.  [16, or the model's]")
@click.option("--precision", type=click.Choice(get_args(Precision)), help="fp32 on CPU, fp16 on GPU.")
@click.option("--compile", "is_compiled", is_flag=True, help="Compile the model with torch.compile.")
@click.option("--batch-size", type=_COUNT, metavar="N", help="Pictures that the model sees at once, at most.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--metrics-port", type=click.IntRange(0, 65535), default=0, help="Of the Prometheus exporter.  [any]")
@click.option("--replicas", default="1", show_default=True, metavar="N", help="N, MIN-MAX (by the load), or auto.")
@click.option("--api-keys", metavar="FILE", help="A key a line. VIDLAKE_API_KEYS, separated by commas, counts too.")
@click.option("--admin-keys", metavar="FILE", help="Keys that may also change heads and streams.")
@click.option("--streams", metavar="FILE", help="YAML: streams to watch from the start. With --out.")
@click.option("--out", metavar="LAKE", help="The dataset of the streams: those of the file, and those that are posted.")
@click.option("--allow-source", "allowed_sources", multiple=True, metavar="PATTERN", help="SCHEME://HOST:PORT.")
@click.option("--record", metavar="URI", help="Where streams that ask for it are recorded.")
@click.option("--keep", metavar="TIME", help="How long recordings are kept, such as 24h.  [for ever]")
@click.option("--commit-seconds", type=_SECONDS, default=10, show_default=True, metavar="S", help="A kill costs them.")
@click.option("--publish-seconds", type=_SECONDS, default=1800, show_default=True, metavar="S", help="Of a file.")
@click.option("--stall-seconds", type=_SECONDS, default=10, show_default=True, metavar="S", help="Without a picture.")
@click.option("--events", metavar="URL", help="A webhook that gets every event of the streams.")
@click.option("--detect-weights", metavar="W", help="Of the streams' detector: default, or a file.  [default]")
@click.option("--insecure", is_flag=True, help="Serve beyond the loopback address without keys.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME", help="Answer to this Host alone.")
@click.option("--allowed-origin", "allowed_origins", multiple=True, metavar="ORIGIN", help="Web pages that may ask.")
@click.option("--max-body", default="64MiB", show_default=True, metavar="BYTES", help="The longest body.")
@click.option("--max-pixels", type=_COUNT, default=40_000_000, show_default=True, metavar="N")
@click.option("--max-duration", type=_SECONDS, default=600, show_default=True, metavar="S")
@click.option("--max-samples", type=_COUNT, default=1000, show_default=True, metavar="N")
@click.option("--max-seconds", type=_SECONDS, default=60, show_default=True, metavar="S")
@click.option("--decode-memory", default="2GiB", show_default=True, metavar="BYTES", help="A decoder's limit.")
@click.option("--decoders", type=_COUNT, metavar="N", help="Videos decoded at once.  [a CPU each]")
@click.option("--queue", type=_COUNT, default=64, show_default=True, help="Requests at once.")
@click.option("--sockets", type=_COUNT, default=100, show_default=True, help="WebSockets at once.")
@click.option("--live-queue", type=_COUNT, default=8, show_default=True, help="Pictures of a socket.")
@click.option("--live-memory", default="256MiB", show_default=True, metavar="BYTES", help="Of all sockets' pictures.")
def serve(**options: Any) -> int:
    """Answer HTTP requests with the model and trained heads: /v1/embed, /v1/classify, /v1/heads, /score, /v2, /v1/live.

    With --out, live streams are watched beside that: /v1/streams, /v1/events.

    Each limit counts for one request in one replica, whose answer says which it ran into.
    """
    arguments = _Arguments(**options)
    settings = _settings(arguments)
    try:
        from serve.local import run_server  # Ray takes seconds

        with own_terminal():
            run_server(
                settings,
                host=arguments.host,
                port=arguments.port,
                metrics_port=arguments.metrics_port,
                replicas=arguments.replicas,
                on_ready=lambda listening: click.echo(_greeting(listening)),
                on_stop=lambda: click.echo("stopping: the requests at work are finished first", err=True),
            )
    except KeyboardInterrupt as stopped:
        if not stopped.args:  # it came before the server had handlers of its own
            raise
        [number] = stopped.args
        click.echo(f"vidlake: {'terminated' if number == signal.SIGTERM else 'interrupted'}", err=True)
        return 128 + int(number)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arguments:
    """The command line, an option a field."""

    source: str | None
    lake: str | None
    heads: str | None
    default_head: str | None
    model: str | None
    weights: str | None
    window: str | None
    precision: Precision | None
    is_compiled: bool
    batch_size: int | None
    host: str
    port: int
    metrics_port: int
    replicas: str
    api_keys: str | None
    admin_keys: str | None
    streams: str | None
    out: str | None
    allowed_sources: tuple[str, ...]
    record: str | None
    keep: str | None
    commit_seconds: float
    publish_seconds: float
    stall_seconds: float
    events: str | None
    detect_weights: str | None
    insecure: bool
    allowed_hosts: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    max_body: str
    max_pixels: int
    max_duration: float
    max_samples: int
    max_seconds: float
    decode_memory: str
    decoders: int | None
    queue: int
    sockets: int
    live_queue: int
    live_memory: str


def _settings(arguments: _Arguments) -> Settings:
    limits = Limits(
        max_body_bytes=parse_size(arguments.max_body),
        max_pixels=arguments.max_pixels,
        max_duration_s=arguments.max_duration,
        max_samples=arguments.max_samples,
        max_seconds=arguments.max_seconds,
        decode_memory_bytes=parse_size(arguments.decode_memory),
        decoders=arguments.decoders,
        queue=arguments.queue,
        sockets=arguments.sockets,
        live_queue=arguments.live_queue,
        live_memory_bytes=parse_size(arguments.live_memory),
    )
    try:
        access = Access(
            api_keys_file=arguments.api_keys,
            admin_keys_file=arguments.admin_keys,
            is_insecure=arguments.insecure,
            allowed_hosts=arguments.allowed_hosts,
            allowed_origins=arguments.allowed_origins,
        )
    except ValidationError as error:
        raise UsageError(f"--allowed-origin: {error.errors()[0]['ctx']['error']}") from None
    cameras = _cameras(arguments)
    return Settings(
        model=_model(arguments),
        heads=_heads(arguments),
        cameras=cameras,
        lake=arguments.lake,
        limits=limits,
        access=access,
    )


def _cameras(arguments: _Arguments) -> CameraSettings:
    if arguments.out is None:
        for option, value in {
            "--streams": arguments.streams,
            "--allow-source": arguments.allowed_sources,
            "--record": arguments.record,
            "--events": arguments.events,
        }.items():
            if value:
                raise UsageError(f"{option} needs a dataset for what is watched: give --out LAKE")
        return CameraSettings()
    require_extra("cameras", command="serve --out")
    cameras = CameraSettings(
        lake=_place(arguments.out, option="--out"),
        streams_file=None if arguments.streams is None else str(Path(arguments.streams).expanduser().absolute()),
        allowed_sources=arguments.allowed_sources,
        record=None if arguments.record is None else _place(arguments.record, option="--record"),
        keep_s=None if arguments.keep is None else parse_duration(arguments.keep),
        commit_s=arguments.commit_seconds,
        publish_s=arguments.publish_seconds,
        stall_s=arguments.stall_seconds,
        events=arguments.events,
        detect_weights=arguments.detect_weights,
    )
    check_cameras(cameras)
    return cameras


def _place(uri: str, *, option: str) -> str:
    """A folder or an address that the host of the streams understands, whatever its current folder is."""
    if not uri or not (is_local(uri) or is_in_bucket(uri)):
        raise UsageError(f"{option} {uri!r}: give a local folder, az://, s3:// or gs://")
    return local_path(uri) if is_local(uri) else uri


def _heads(arguments: _Arguments) -> HeadSettings:
    if arguments.heads is None:
        if arguments.default_head is not None:
            raise UsageError("--default-head names a head of --heads: give a folder of heads too")
        return HeadSettings()
    if arguments.default_head is not None:
        require_head(arguments.heads, arguments.default_head)
    return HeadSettings(folder=folder_at(arguments.heads), default=arguments.default_head)


def _model(arguments: _Arguments) -> ModelSettings:
    speed = {"compile": arguments.is_compiled, "batch_size": arguments.batch_size}
    if arguments.lake is not None and arguments.source is not None:
        raise UsageError("--lake takes the model from the lake: leave out --from")
    source = arguments.source if arguments.lake is None else arguments.lake
    if source is not None:
        return _model_of_dataset(arguments, source).model_copy(update=speed)
    if arguments.heads is not None and arguments.model is None:
        return _model_of_heads(arguments, arguments.heads).model_copy(update=speed)
    windows = None if arguments.window is None else Windows.parse(arguments.window)
    return ModelSettings(
        name=arguments.model or _DEFAULT_MODEL,
        weights=arguments.weights or "default",
        window=None if windows is None else windows.length,
        stride=None if windows is None else windows.stride,
        precision=arguments.precision,
        compile=arguments.is_compiled,
        batch_size=arguments.batch_size,
    )


def _model_of_dataset(arguments: _Arguments, uri: str) -> ModelSettings:
    if arguments.precision:
        raise UsageError("--from takes the precision from the dataset: leave out --precision")
    if arguments.window:
        raise UsageError("--from takes the window from the dataset: leave out --window")
    info = existing_dataset(uri, command="serve --from").existing()
    info = trusted(info, uri=uri, model=arguments.model, weights=arguments.weights)
    return ModelSettings(
        name=info.config.model.name,
        weights=info.weights,
        precision=info.config.precision,
        weights_digest=info.config.model.weights_digest,
        window=info.config.model.preprocessing.window,
        stride=info.config.stride,
    )


def _model_of_heads(arguments: _Arguments, uri: str) -> ModelSettings:
    if arguments.precision:
        raise UsageError("--heads takes the precision from the heads: leave out --precision, or give --model as well")
    if arguments.window:
        raise UsageError("--heads takes the window from the heads: leave out --window, or give --model as well")
    folder_at(uri)
    return model_of_heads(uri, weights=arguments.weights)


def _greeting(listening: "Listening") -> str:
    key = " -H 'Authorization: Bearer KEY'" if listening.needs_key else ""
    heads = f"  heads    curl{key} {listening.url}/v1/heads\n" if listening.has_heads else ""
    events = f"  events   curl -N{key} {listening.url}/v1/events\n" if listening.has_streams else ""
    return f"""\
vidlake serves {listening.model} at {listening.url}
  page     {listening.url}/
  try      curl{key} -H 'Content-Type: image/jpeg' --data-binary @picture.jpg {listening.url}/v1/classify
{heads}{events}  docs     {listening.url}/docs
  metrics  {listening.metrics_url}
  logs     {listening.logs}
Ctrl-C stops it."""
