"""The server's settings: the typed arguments of ``serve.app:build``, and behind the options of ``vidlake serve``."""

import re
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from pipeline.errors import UsageError
from pipeline.records.model_info import Precision
from pipeline.records.resources import parse_size


def _as_bytes(value: Any) -> Any:
    try:
        return parse_size(value) if isinstance(value, str) else value
    except UsageError as error:
        raise ValueError(str(error)) from None


Bytes = Annotated[PositiveInt, BeforeValidator(_as_bytes)]


def _as_origin(text: str) -> str:
    """The origin as browsers write it; not a pattern or ``null``, which would let in pages that nobody has named."""
    origin = text.removesuffix("/").lower()
    if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?", origin, re.ASCII):
        raise ValueError(f"bad origin {text!r}: use SCHEME://HOST or SCHEME://HOST:PORT")
    return origin


Origin = Annotated[str, AfterValidator(_as_origin)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Replicas(_Settings):
    """How many replicas hold the model. Where ``min`` and ``max`` differ, Serve chooses by the load."""

    min: PositiveInt = 1
    max: PositiveInt = 1

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"at least {self.min} replicas and at most {self.max}")
        return self

    @classmethod
    def parse(cls, text: str, *, num_available: int) -> Self:
        """Read ``N``, ``MIN-MAX`` or ``auto``: one to as many as the machine has GPUs or, without one, one.

        Raises:
            UsageError: it is none of these.
        """
        if text == "auto":
            return cls(min=1, max=max(1, num_available))
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text, re.ASCII)
        least, most = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= least <= most:
            raise UsageError(f"bad replicas {text!r}: use N, MIN-MAX or auto")
        return cls(min=least, max=most)


class ModelSettings(_Settings):
    """The model that answers; ``vidlake extract`` has the same options."""

    name: str = "efficientnet_lite0"
    weights: str = "default"
    precision: Precision | None = None
    """``None``: ``fp16`` on a GPU, ``fp32`` on a CPU."""
    weights_digest: str | None = None
    """The digest that the weights must have: that of the dataset or the heads whose model is served. ``None``: any."""
    window: PositiveInt | None = None
    """How many samples a model of clips takes at once; ``None``: as its weights were trained."""
    stride: PositiveInt | None = None
    """How many samples a window begins after the one before; ``None``: as many as it has."""
    compile: bool = False
    batch_size: PositiveInt | None = None
    """``None``: 32 on a GPU; 8 on a CPU, where larger batches outgrow its caches and only take longer."""
    num_threads: PositiveInt | None = None
    """Threads with which torch computes on a CPU; ``None``: as many as the CPUs that Ray gives the replica."""


class HeadSettings(_Settings):
    """The trained heads that answer beside the model's own classes."""

    folder: str | None = None
    """A folder of heads, or an address of one in an object store; ``None``: there are none."""
    default: str | None = None
    """The head that answers ``/score`` and the WebSocket where a request names none."""

    @model_validator(mode="after")
    def _from_a_folder(self) -> Self:
        if self.default is not None and self.folder is None:
            raise ValueError("a default head needs a folder of heads")
        return self


class CameraSettings(_Settings):
    """The streams that are watched beside the HTTP interface: one set for all replicas."""

    lake: str | None = None
    """The dataset that their rows go into; ``None``: no stream can be watched."""
    streams_file: str | None = None
    """A YAML file whose ``streams`` are watched from the start, where the server runs."""
    allowed_sources: tuple[str, ...] = ()
    """Patterns ``SCHEME://HOST:PORT`` of what posted streams, and whatever sources lead to, may reach."""
    record: str | None = None
    """A folder or an address for the recordings of streams that ask for one; ``None``: posted ones cannot."""
    keep_s: PositiveFloat | None = None
    """How long recordings are kept; ``None``: for ever."""
    commit_s: PositiveFloat = 10.0
    """How much of what came in a kill may cost."""
    publish_s: PositiveFloat = 1800.0
    """How often what is committed becomes files of the dataset."""
    stall_s: PositiveFloat = 10.0
    """Without a picture for so long, a connection is given up."""
    events: str | None = None
    """The address of a webhook that every event is posted to, signed with ``VIDLAKE_WEBHOOK_SECRET`` if that is set."""
    detect_weights: str | None = None
    """Of a detector that a stream names; ``None``: its library's own."""

    @model_validator(mode="after")
    def _into_a_lake(self) -> Self:
        if self.lake is None and (self.streams_file is not None or self.allowed_sources or self.record is not None):
            raise ValueError("streams need a dataset: give --out LAKE")
        return self


class Limits(_Settings):
    """What one request may cost, and how many requests may wait, in each replica."""

    max_body_bytes: Bytes = Field(default=64 << 20)
    max_pixels: PositiveInt = 40_000_000
    max_duration_s: PositiveFloat = 600.0
    max_samples: PositiveInt = 1000
    max_seconds: PositiveFloat = 60.0
    decode_memory_bytes: Bytes = Field(default=2 << 30)
    queue: PositiveInt = 64
    """Requests that may be open at once, those at work included; the next one is answered 503."""
    decoders: PositiveInt | None = None
    """Videos that are decoded at once, each in a process of its own; ``None``: one for each CPU."""
    sockets: PositiveInt = 100
    live_queue: PositiveInt = 8
    """Pictures of one WebSocket that may wait; when another comes, the oldest is dropped."""
    live_memory_bytes: Bytes = Field(default=256 << 20)
    """Bytes of all WebSockets' pictures together; beyond it, the socket that holds most drops its oldest picture."""


class Access(_Settings):
    """Who may send requests. The keys themselves are no settings: the replica reads them where it runs."""

    api_keys_file: str | None = None
    """A file with a key on each line; the variable ``VIDLAKE_API_KEYS`` holds more, between commas or spaces."""
    admin_keys_file: str | None = None
    """The same for keys that may also choose a head's version, and start and stop streams, beside those of
    ``VIDLAKE_ADMIN_KEYS``."""
    is_loopback: bool = False
    """Whether the server listens on the loopback address alone: only then may it have no keys."""
    is_insecure: bool = False
    """Answer everybody, without a key."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in ``Host`` that are answered; empty: on the loopback address its own names, elsewhere any."""
    allowed_origins: tuple[Origin, ...] = ()
    """Origins of web pages that may send requests, such as ``https://console.example.com``, beside the server's own."""


class Settings(_Settings):
    """One server."""

    model: ModelSettings = ModelSettings()
    heads: HeadSettings = HeadSettings()
    cameras: CameraSettings = CameraSettings()
    lake: str | None = None
    """The dataset that is searched and shown; its model is the one that is served. ``None``: there is none."""
    replicas: Replicas = Replicas()
    num_cpus: float = Field(default=1.0, ge=0)
    num_gpus: float = Field(default=0.0, ge=0)
    limits: Limits = Limits()
    access: Access = Access()
