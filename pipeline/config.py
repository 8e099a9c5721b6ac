"""Settings: what makes a dataset (and its fingerprint), and how one run goes about it."""

import hashlib
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self, get_args

from pipeline.errors import UsageError
from pipeline.model_info import ModelInfo
from pipeline.records import DecodeLimits, FeatureType, Precision
from pipeline.sampling import SamplingRule

_MOST_BYTES = 2**60
"""More than any machine has, and less than the operating system's limits can hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """What every row of a dataset has in common. Another one into the same folder is refused."""

    model: ModelInfo
    sample: str
    precision: Precision
    dtype: FeatureType

    @property
    def rule(self) -> SamplingRule:
        """The parsed ``sample``."""
        return SamplingRule.parse(self.sample)

    @property
    def fingerprint(self) -> str:
        """That of its features: see ``feature_fingerprint``."""
        return feature_fingerprint(self.model, self.precision)

    def to_json(self) -> dict[str, Any]:
        """A JSON document that ``from_json`` reads back."""
        return {
            "model": self.model.to_json(),
            "sample": self.sample,
            "precision": self.precision,
            "dtype": self.dtype,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The inverse of ``to_json``; keys that are not ours are left alone.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no such document.
        """
        allowed = {"precision": get_args(Precision), "dtype": get_args(FeatureType)}
        for name, values in allowed.items():
            if document[name] not in values:
                raise ValueError(f"{name} is {document[name]!r}, not one of {', '.join(values)}")
        names = ("sample", *allowed)
        return cls(model=ModelInfo.from_json(document["model"]), **{name: document[name] for name in names})

    def difference(self, other: "DatasetConfig") -> str | None:
        """The first setting in which ``other`` differs, as ``NAME is MINE, not ITS``; ``None``: it is the same."""
        mine, theirs = self._settings(), other._settings()
        for name, value in mine.items():
            if theirs[name] != value:
                return f"{name} is {value}, not {theirs[name]}"
        return None

    def _settings(self) -> dict[str, object]:
        """What can differ, by the names that a user knows, the likeliest cause first."""
        preprocessing = self.model.preprocessing.to_json()
        return {
            "--model": self.model.name,
            "--sample": self.sample,
            "--precision": self.precision,
            "--dtype": self.dtype,
            "the digest of --weights": self.model.weights_digest,
            "the length of a feature": self.model.dim,
            **{f"the preprocessing's {name}": value for name, value in preprocessing.items()},
        }


def feature_fingerprint(model: ModelInfo, precision: Precision) -> str:
    """16 hexadecimal digits that features made in one way share, whether batch or live, whatever was sampled."""
    document = {"model": model.to_json(), "precision": precision}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part ``index`` of ``count`` of the input, counted from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``I/N``.

        Raises:
            UsageError: it is not that, or I is not one of 1..N.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if match and 1 <= int(match[1]) <= int(match[2]):
            return cls(index=int(match[1]), count=int(match[2]))
        raise UsageError(f"bad shard {text!r}: use I/N with 1 <= I <= N")

    @property
    def slot(self) -> str:
        """The name of its lease: ``I-of-N``."""
        return f"{self.index}-of-{self.count}"

    def holds(self, video_id: str) -> bool:
        """Whether a video belongs to this part: by its id, so that parts do not depend on the order of the input."""
        return int(video_id, 16) % self.count == self.index - 1


WHOLE = Shard()
"""All of the input."""


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
    compile: bool = False
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """One ``vidlake extract``, its words understood."""

    inputs: tuple[str, ...]
    out: str
    model: str
    weights: str
    rule: SamplingRule
    precision: Precision | None
    """``None``: the dataset's own or, in a new one, what the hardware is good at."""
    dtype: FeatureType | None
    """``None``: the dataset's own, or ``float32``."""
    run: RunOptions


def parse_size(text: str) -> int:
    """Bytes from ``2GiB``, ``500MB``, ``1.5 g``, ``1073741824``.

    Raises:
        UsageError: it is no size.
    """
    powers = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", text.strip().lower(), re.ASCII)
    size = 0 if match is None else int(Fraction(match[1]) * (1024 if match[3] else 1000) ** powers[match[2] or ""])
    if not 1 <= size <= _MOST_BYTES:
        raise UsageError(f"bad size {text!r}: use a number of bytes, or one with KB, MB, GB, TB, KiB, MiB, GiB or TiB")
    return size
