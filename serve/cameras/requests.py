"""What a stream is asked for with: the body of ``POST /v1/streams``, and an entry of a streams file."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    SecretStr,
    ValidationError,
    model_validator,
)

from pipeline.errors import UsageError
from pipeline.media.sampling.fps import FpsRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.records.geometry import Line, Zone
from pipeline.records.streams import MotionLevel, StreamSpec, check_stream_name

Shape = TypeVar("Shape", Line, Zone)
Value = TypeVar("Value")
_MOST_SHAPES = 64


def _checked_by(check: Callable[[Value], Value]) -> AfterValidator:
    """A validator that raises what pydantic takes for a mistake."""

    def checked(value: Value) -> Value:
        try:
            return check(value)
        except UsageError as error:
            raise ValueError(str(error)) from None

    return AfterValidator(checked)


def _as_name(name: str) -> str:
    check_stream_name(name)
    return name


def _as_rate(sample: str) -> str:
    rule = parse_rule(sample)
    if not isinstance(rule, FpsRule):
        raise UsageError(f"a stream is sampled by fps:R, not by {sample}")
    return str(rule)


def _shapes_of(kind: type[Shape], texts: Sequence[str]) -> tuple[Shape, ...]:
    shapes = tuple(kind.parse(text) for text in texts)
    names = [shape.name for shape in shapes]
    if len(set(names)) < len(names):
        raise UsageError(f"two of a name among the {kind.__name__.lower()}s: {', '.join(names)}")
    return shapes


def _as_lines(texts: tuple[str, ...]) -> tuple[str, ...]:
    _shapes_of(Line, texts)
    return texts


def _as_zones(texts: tuple[str, ...]) -> tuple[str, ...]:
    _shapes_of(Zone, texts)
    return texts


def _without_user(detect: str) -> str:
    """An extension's address is shown with the stream, so it may hold no password."""
    if "://" in detect and "@" in detect.partition("://")[2].partition("/")[0]:
        raise UsageError("the address of an extension holds no user and no password")
    return detect


def _off_of_yaml(value: Any) -> Any:
    """YAML reads the word ``off`` as false."""
    return "off" if value is False else value


_OFF = BeforeValidator(_off_of_yaml)


class StreamRequest(BaseModel):
    """A stream that is to be watched."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, _checked_by(_as_name)]
    source: Annotated[str, Field(min_length=1, max_length=4096, repr=False)]
    """``rtsp(s)://``, ``http(s)://`` (HLS, MPEG-TS, MJPEG) or, in a streams file alone, ``file:``. A user and a
    password in it are used, and shown nowhere."""
    user: str | None = None
    password: SecretStr | None = None
    """Beside ``VIDLAKE_STREAM_<NAME>_USER`` and ``_PASSWORD``, and those in the source."""
    sample: Annotated[str, _checked_by(_as_rate)] = "fps:1"
    motion: Annotated[MotionLevel, _OFF] = MotionLevel.OFF
    detect: Annotated[str, _OFF, _checked_by(_without_user), Field(min_length=1, max_length=4096)] = "off"
    """``off``, ``motion``, a detector's name, or the address of an Azure Video Analyzer extension."""
    detect_rate: Annotated[PositiveFloat, Field(le=1000)] | None = None
    """Pictures a second; without it, the sampling rate."""
    lines: Annotated[tuple[str, ...], _checked_by(_as_lines), Field(max_length=_MOST_SHAPES)] = ()
    """``NAME:x1,y1,x2,y2`` in shares of the picture."""
    zones: Annotated[tuple[str, ...], _checked_by(_as_zones), Field(max_length=_MOST_SHAPES)] = ()
    """``NAME:x,y,x,y,x,y...``."""
    head: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """A head of ``--heads``, whose changes of label become events."""
    record: bool | Annotated[str, Field(min_length=1, max_length=4096)] = False
    """Whether to record, where ``--record`` says; or a folder or an address, of a posted stream one below that."""

    @model_validator(mode="after")
    def _with_objects(self) -> Self:
        if self.detect == "off" and (self.lines or self.zones):
            raise ValueError("lines and zones go by objects: detect says motion, a detector's name or a URL")
        return self

    def spec(self, *, shown_source: str, record: str | None) -> StreamSpec:
        """How the stream is watched, with what may be shown of its source and where its recordings go."""
        rule = parse_rule(self.sample)
        assert isinstance(rule, FpsRule)
        return StreamSpec(
            name=self.name,
            source=shown_source,
            rate_hz=rule.rate_hz,
            motion=self.motion,
            detect=self.detect,
            detect_rate_hz=None if self.detect_rate is None else Fraction(str(self.detect_rate)),
            lines=_shapes_of(Line, self.lines),
            zones=_shapes_of(Zone, self.zones),
            head=self.head,
            record=record,
        )


class _StreamsFile(BaseModel):
    """A streams file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    streams: tuple[StreamRequest, ...]


def read_streams_file(path: str) -> tuple[StreamRequest, ...]:
    """The streams of a file.

    Raises:
        UsageError: it cannot be read, is no such file, or names a stream twice. Nothing that may be secret is repeated.
    """
    try:
        document = yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
        streams = _StreamsFile.model_validate(document).streams
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise UsageError(f"--streams {path}: {place}: {first['msg']}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f", line {mark.line + 1}"
        raise UsageError(f"--streams {path} is no YAML{where}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"--streams {path} cannot be read: {reason}") from None
    names = [stream.name for stream in streams]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--streams {path} names {', '.join(twice)} twice")
    return streams
