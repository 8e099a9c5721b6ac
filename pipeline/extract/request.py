"""What a run was asked to do: the options of one run, and one ``vidlake extract`` or ``predict``."""

from dataclasses import dataclass

from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.model_info import FeatureType, Precision
from pipeline.records.periods import Period
from pipeline.records.resources import DecodeLimits
from pipeline.records.shards import WHOLE, Shard
from pipeline.records.windows import Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How one run goes about its work; none of it changes a row. ``None``: chosen from the cluster."""

    segment_seconds: float | None = None
    batch_size: int | None = None
    decode_workers: int | None = None
    gpu_actors: int | None = None
    rows_per_file: int | None = None
    limits: DecodeLimits = DecodeLimits()
    limit: int | None = None
    shard: Shard = WHOLE
    address: str | None = None
    min_cpus: int | None = None
    min_gpus: int | None = None
    """What a cluster is to have before the run is sized; one that scales is asked for it."""
    shots: str | None = None
    """The lake whose shots the rule ``shots:N`` goes by; ``None``: that of the dataset."""
    compile: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """A model by its name, and where its weights are from."""

    name: str
    weights: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """One ``vidlake extract``, as it was parsed."""

    inputs: tuple[str, ...]
    out: str
    models: tuple[ModelChoice, ...]
    """At least one; several of them make a dataset each, in folders of ``out``."""
    rule: SamplingRule
    precision: Precision | None
    """``None``: the dataset's own or, in a new one, what the hardware is good at."""
    dtype: FeatureType | None
    """``None``: the dataset's own, or ``float32``."""
    run: RunOptions
    thumbnail_px: int | None = None
    """The longest side of the thumbnails that are made besides, if any."""
    windows: Windows | None = None
    """How samples form windows; ``None``: the dataset's own, or as the model's weights were trained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictRequest:
    """One ``vidlake predict``, as it was parsed."""

    lake: str
    head: str
    """As ``HEADS/NAME`` or ``HEADS/NAME@VERSION``."""
    out: str
    period: Period
    address: str | None
