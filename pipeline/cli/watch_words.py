"""The words of ``watch``, and the typed values that they become."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypedDict, TypeVar, get_args

import click

from pipeline.cameras.pulling.source import (
    AllowedSources,
    Source,
    credentials_of,
    has_password,
    variables_of,
)
from pipeline.cli.head_words import require_words
from pipeline.cli.options import DEFAULT_MODEL, models_of, options
from pipeline.errors import UsageError
from pipeline.extract.request import ModelChoice
from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.geometry import Line, Zone
from pipeline.records.model_info import Precision
from pipeline.records.resources import parse_duration
from pipeline.records.streams import MotionLevel, StreamSpec, check_stream_name
from pipeline.storage.addresses import is_local, local_path

Shape = TypeVar("Shape", Line, Zone)

_SECONDS = click.FloatRange(min=0, min_open=True)
_LONGEST_NAME = 64
_DETECT_RATE_HZ = 1000

WATCH = options(
    click.option("--out", required=True, metavar="LAKE", help="The dataset that the rows go into, new or not."),
    click.option("--name", "names", multiple=True, metavar="N", help="Of a stream, once a SOURCE.  [from the SOURCE]"),
    click.option("--model", default=DEFAULT_MODEL, show_default=True, help="See `vidlake models`."),
    click.option("--weights", metavar="W", help="default, random:SEED, or a file.  [default]"),
    click.option("--precision", type=click.Choice(get_args(Precision)), help="fp32 on CPU, fp16 on GPU."),
    click.option("--sample", default="fps:1", show_default=True, help="fps:R."),
    click.option(
        "--motion",
        type=click.Choice([level.value for level in MotionLevel]),
        default="off",
        show_default=True,
        help="The model sees only what moves; low wants the most of it.",
    ),
    click.option(
        "--detect", default="off", show_default=True, help="off, motion, a detector's name, or an extension's URL."
    ),
    click.option("--detect-rate", metavar="R", help="Pictures a second that are looked at for objects.  [--sample]"),
    click.option("--detect-weights", metavar="W", help="Of the detector: default, or a file.  [default]"),
    click.option("--line", "lines", multiple=True, metavar="NAME:x1,y1,x2,y2", help="Tell who crosses it."),
    click.option("--zone", "zones", multiple=True, metavar="NAME:x,y,x,y,x,y...", help="Tell who enters and leaves."),
    click.option("--heads", metavar="HEADS", help="A folder of trained heads."),
    click.option("--head", metavar="NAME", help="Tell when this head's label changes."),
    click.option("--record", metavar="URI", help="Keep what comes in, too."),
    click.option("--keep", metavar="TIME", help="How long recordings are kept, such as 24h.  [for ever]"),
    click.option(
        "--commit-seconds", type=_SECONDS, default=10, show_default=True, metavar="S", help="A kill costs it."
    ),
    click.option("--publish-seconds", type=_SECONDS, default=1800, show_default=True, metavar="S", help="Of a file."),
    click.option(
        "--stall-seconds", type=_SECONDS, default=10, show_default=True, metavar="S", help="Without a picture."
    ),
    click.option("--events", metavar="-|FILE|URL", help="JSON lines to stdout or a file, or posts to a webhook."),
    click.option("--allow-source", "allowed_sources", multiple=True, metavar="PATTERN", help="SCHEME://HOST:PORT."),
    click.option("--seconds", type=_SECONDS, metavar="S", help="End so long after the first stream plays."),
    click.option("--address", metavar="A", help="A Ray cluster: auto or HOST:PORT. Without it a local one is started."),
)


class WatchWords(TypedDict):
    """What the words of ``watch`` parse to, but for ``--json``."""

    sources: tuple[str, ...]
    out: str
    names: tuple[str, ...]
    model: str
    weights: str | None
    precision: Precision | None
    sample: str
    motion: str
    detect: str
    detect_rate: str | None
    detect_weights: str | None
    lines: tuple[str, ...]
    zones: tuple[str, ...]
    heads: str | None
    head: str | None
    record: str | None
    keep: str | None
    commit_seconds: float
    publish_seconds: float
    stall_seconds: float
    events: str | None
    allowed_sources: tuple[str, ...]
    seconds: float | None
    address: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """One ``vidlake watch``, as it was parsed."""

    streams: tuple[tuple[StreamSpec, Source], ...]
    out: str
    model: ModelChoice
    precision: Precision | None
    """``None``: the dataset's own or, in a new one, what the hardware is good at."""
    detect_weights: str | None
    heads: str | None
    keep_s: float | None
    commit_s: float
    publish_s: float
    stall_s: float
    events: str | None
    """``-``, a file, or the address of a webhook."""
    seconds: float | None
    address: str | None

    @property
    def rate_hz(self) -> Fraction:
        """Of the sampling rule, which all streams share."""
        return self.streams[0][0].rate_hz


def watch_request_of(words: WatchWords) -> WatchRequest:
    """What ``watch`` is asked for.

    Raises:
        UsageError: one of the words does not parse, or two do not go together.
    """
    require_words(out=words["out"], heads=words["heads"], head=words["head"], record=words["record"])
    if (words["head"] is None) != (words["heads"] is None):
        raise UsageError("--heads says where heads are, and --head which one: give both or neither")
    [model] = models_of((words["model"],), weights=words["weights"])
    sources = words["sources"]
    names = names_of(sources, words["names"])
    allowed = AllowedSources.parse(words["allowed_sources"])
    return WatchRequest(
        streams=tuple(
            (spec_of(words, name, source), source)
            for name, text in zip(names, sources, strict=True)
            for source in (_source(text, name=name, allowed=allowed),)
        ),
        out=_absolute(words["out"]),
        model=model,
        precision=words["precision"],
        detect_weights=words["detect_weights"],
        heads=None if words["heads"] is None else _absolute(words["heads"]),
        keep_s=None if words["keep"] is None else parse_duration(str(words["keep"])),
        commit_s=words["commit_seconds"],
        publish_s=words["publish_seconds"],
        stall_s=words["stall_seconds"],
        events=words["events"],
        seconds=words["seconds"],
        address=words["address"],
    )


def spec_of(words: WatchWords, name: str, source: Source) -> StreamSpec:
    """How one of the sources is watched; raises as ``watch_request_of`` does."""
    from pipeline.cameras.analysis.choice import DetectorChoice  # with the trackers, which no other command needs

    rule = parse_rule(str(words["sample"]))
    if not isinstance(rule, FpsRule):
        raise UsageError(f"--sample {rule}: a stream is sampled by fps:R")
    detect = DetectorChoice.parse(words["detect"]).detect
    if detect == "off" and (words["lines"] or words["zones"]):
        raise UsageError("--line and --zone go by objects: give --detect motion, a detector's name or a URL")
    record = words["record"]
    return StreamSpec(
        name=name,
        source=source.uri,
        rate_hz=rule.rate_hz,
        motion=MotionLevel(words["motion"]),
        detect=detect,
        detect_rate_hz=None if words["detect_rate"] is None else _detect_rate_hz(str(words["detect_rate"])),
        lines=_shapes_of(Line, words["lines"], option="--line"),
        zones=_shapes_of(Zone, words["zones"], option="--zone"),
        head=words["head"],
        record=None if record is None else _absolute(record),
    )


def names_of(sources: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The names of the streams: those given, or one made of each source's address.

    Raises:
        UsageError: there are more or fewer names than sources, one is no name, or two are the same.
    """
    if names and len(names) != len(sources):
        raise UsageError(f"{len(names)} --name for {len(sources)} sources: give each its own, in their order")
    chosen = tuple(map(str, names)) or tuple(_name_in(source) for source in sources)
    for name in chosen:
        check_stream_name(name)
        if chosen.count(name) > 1:
            raise UsageError(f"two streams are called {name}: give each its own --name")
    return chosen


def _name_in(source: str) -> str:
    """A name made of an address, without what may be secret: its host and path, or the file's name."""
    address = re.sub(r"^[a-z]+:(//)?", "", source.partition("?")[0].partition("#")[0], flags=re.IGNORECASE)
    if source.lower().startswith("file:"):
        address = address.rstrip("/").rpartition("/")[2].rpartition(".")[0] or address
    else:
        host, slash, path = address.partition("/")
        address = host.rpartition("@")[2] + slash + path
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", address).strip("-._")[:_LONGEST_NAME]
    return name or "stream"


def _source(text: str, *, name: str, allowed: AllowedSources) -> Source:
    if has_password(text):
        user, password = variables_of(name)
        raise UsageError(
            f"stream {name}: everybody sees the words of a command, so a password is none of them: "
            f"put it into the variable {password}, and the user into {user}"
        )
    return Source.parse(text, allowed=allowed.with_own(text), credentials=credentials_of(name))


def _shapes_of(kind: type[Shape], texts: Sequence[str], *, option: str) -> tuple[Shape, ...]:
    shapes = tuple(kind.parse(text) for text in texts)
    names = [shape.name for shape in shapes]
    if len(set(names)) < len(names):
        raise UsageError(f"two {option} have one name: {', '.join(names)}")
    return shapes


def _detect_rate_hz(text: str) -> Fraction:
    rule = FpsRule.read(text)
    if rule is None or rule.rate_hz > _DETECT_RATE_HZ:
        raise UsageError(f"bad --detect-rate {text!r}: use pictures a second, at most {_DETECT_RATE_HZ}")
    return rule.rate_hz


def _absolute(place: str) -> str:
    """A path made absolute: the process of a stream may have another working folder. An address stays as it is."""
    return local_path(place) if is_local(place) else place
