"""What is known of a head without holding its numbers: the document ``head.json`` as values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, get_args

from pipeline.errors import UsageError
from pipeline.records.documents import (
    Document,
    document_of,
    flag,
    number_or_none,
    numbers,
    part,
    parts,
    text,
    texts,
    whole,
)
from pipeline.records.model_info import FeatureType, ModelInfo, Precision, feature_fingerprint
from pipeline.records.units import Unit

KINDS = ("linear", "mlp", "gru", "tree", "forest", "boosting")
TREE_KINDS = ("tree", "forest", "boosting")
POOLS = ("mean", "std", "max")
_STEP = re.compile(r"l2|standardize|delta|pca:[1-9]\d{0,5}", re.ASCII)
_POOL = re.compile("|".join(POOLS), re.ASCII)
_SIZED = ("mlp", "gru")
_HIDDEN = re.compile(r"[1-9]\d{0,5}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)


def steps_of(text: str) -> tuple[str, ...]:
    """Read feature steps as a user writes them, joined by commas; none where there is no text.

    Raises:
        UsageError: one is no step.
    """
    return _listed(text, _STEP, option="--features", known="l2, standardize, pca:K and delta")


def pools_of(text: str) -> tuple[str, ...]:
    """Read the ways of pooling as a user writes them, joined by commas.

    Raises:
        UsageError: one is none, or is there twice.
    """
    ways = _listed(text, _POOL, option="--pool", known=", ".join(POOLS))
    if not ways or len(set(ways)) < len(ways):
        raise UsageError(f"bad --pool {text!r}: give one or several of {', '.join(POOLS)}, each once")
    return ways


def _listed(text: str, pattern: re.Pattern[str], *, option: str, known: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    odd = [word for word in words if not pattern.fullmatch(word)]
    if odd:
        raise UsageError(f"bad {option} {text!r}: {odd[0]!r} is none of {known}")
    return words


def is_head_name(name: str) -> bool:
    """Whether a head may be called so: it is a folder's name, a path of the server and a header's value."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """The model whose features a head takes, and how they were stored."""

    model: ModelInfo
    weights: str
    """Where they are from: data, of which ``lake.trust`` decides."""
    precision: Precision
    dtype: FeatureType

    @property
    def fingerprint(self) -> str:
        """That of its features."""
        return feature_fingerprint(self.model, self.precision)

    def to_json(self) -> Document:
        """A document that ``from_json`` reads back."""
        return {
            "model": self.model.name,
            "dim": self.model.dim,
            "weights": self.weights,
            "weights_digest": self.model.weights_digest,
            "preprocessing": self.model.preprocessing.to_json(),
            "precision": self.precision,
            "dtype": self.dtype,
            "fingerprint": self.fingerprint,
        }

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``.

        Raises:
            KeyError, TypeError, ValueError: it is no such document, or its fingerprint is not that of its model.
        """
        names = ("dim", "weights_digest", "preprocessing")
        model = ModelInfo.from_json({"name": text(document, "model"), **{name: document[name] for name in names}})
        precision, dtype = text(document, "precision"), text(document, "dtype")
        if precision not in get_args(Precision) or dtype not in get_args(FeatureType):
            raise ValueError(f"no precision {precision!r} or dtype {dtype!r}")
        known: tuple[Precision, ...] = get_args(Precision)
        stored: tuple[FeatureType, ...] = get_args(FeatureType)
        backbone = cls(
            model=model,
            weights=text(document, "weights"),
            precision=known[known.index(precision)],
            dtype=stored[stored.index(dtype)],
        )
        if backbone.fingerprint != text(document, "fingerprint"):
            raise ValueError(f"the fingerprint of {model.name} is {backbone.fingerprint}, not what it says")
        return backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadKind:
    """``linear``, ``mlp[:H]``, ``gru[:H]``, ``tree``, ``forest`` or ``boosting``; ``hidden`` is H."""

    name: str
    hidden: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a kind as a user writes it.

        Raises:
            UsageError: it is none.
        """
        name, colon, hidden = text.partition(":")
        if name not in KINDS or (colon and (name not in _SIZED or not _HIDDEN.fullmatch(hidden))):
            raise UsageError(f"bad --head {text!r}: use linear, mlp, mlp:H, gru, gru:H, tree, forest or boosting")
        return cls(name=name, hidden=int(hidden) if colon else None)

    def __str__(self) -> str:
        return self.name if self.hidden is None else f"{self.name}:{self.hidden}"

    @property
    def takes_sequences(self) -> bool:
        """Whether it takes the samples of a unit one after another, and not one vector a unit."""
        return self.name == "gru"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadInfo:
    """One version of a head, but for its numbers."""

    kind: HeadKind
    labels: tuple[str, ...]
    unit: Unit
    steps: tuple[str, ...]
    """In the order in which they are applied: ``l2``, ``standardize``, ``pca:K``, ``delta``."""
    pool: tuple[str, ...]
    """How the samples of a unit become one vector; a ``gru`` does without."""
    is_multi_label: bool
    thresholds: tuple[float, ...]
    """A probability above which a label holds, for each of the labels, where several may hold."""
    temperature: float | None
    """By which logits are divided; ``None``: there was no validation part."""
    backbones: tuple[Backbone, ...]
    """In the order of their names: their features stand side by side in one vector."""
    sample: str
    lake: str
    labels_digest: str
    seed: int
    versions: Mapping[str, str]
    """Of the libraries that it was trained with."""

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels) or not self.labels:
            raise ValueError(f"labels must be different, and at least one: {self.labels}")
        if not self.backbones:
            raise ValueError("a head has a backbone")
        odd = [step for step in self.steps if not _STEP.fullmatch(step)] + [p for p in self.pool if p not in POOLS]
        if odd:
            raise ValueError(f"no feature step or pool is called {odd[0]!r}")
        if self.temperature is not None and not self.temperature > 0:
            raise ValueError(f"a temperature is above 0, not {self.temperature}")
        if len(self.thresholds) != (len(self.labels) if self.is_multi_label else 0):
            raise ValueError(f"{len(self.thresholds)} thresholds for {len(self.labels)} labels")

    @property
    def dim(self) -> int:
        """Length of the vector that the features of all backbones make."""
        return sum(backbone.model.dim for backbone in self.backbones)

    @property
    def fingerprint(self) -> str:
        """Of its backbones, joined by ``+``."""
        return "+".join(backbone.fingerprint for backbone in self.backbones)

    @property
    def is_each_sample_alone(self) -> bool:
        """Whether the answer for a sample needs no other: a frame, without the difference to the one before."""
        return self.unit.is_frame and "delta" not in self.steps

    def to_json(self) -> Document:
        """The document ``head.json``."""
        backbones = [backbone.to_json() for backbone in self.backbones]
        return {
            "kind": self.kind.name,
            "hidden": self.kind.hidden,
            "labels": list(self.labels),
            "unit": str(self.unit),
            "steps": list(self.steps),
            "pool": list(self.pool),
            "multi_label": self.is_multi_label,
            "thresholds": list(self.thresholds),
            "temperature": self.temperature,
            "backbone": backbones[0] if len(backbones) == 1 else backbones,
            "sample": self.sample,
            "lake": self.lake,
            "labels_digest": self.labels_digest,
            "seed": self.seed,
            "versions": dict(self.versions),
        }

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``; keys that are not ours are left alone.

        Raises:
            KeyError, TypeError, ValueError, UsageError: it is no such document.
        """
        kind = text(document, "kind")
        if kind not in KINDS:
            raise ValueError(f"kind is {kind[:60]!r}, not one of {', '.join(KINDS)}")
        hidden = document.get("hidden")
        several = isinstance(document["backbone"], list)
        backbones = parts(document, "backbone") if several else [part(document, "backbone")]
        versions = document_of(document["versions"], name="versions")
        return cls(
            kind=HeadKind(name=kind, hidden=None if hidden is None else whole(document, "hidden")),
            labels=texts(document, "labels"),
            unit=Unit.parse(text(document, "unit")),
            steps=texts(document, "steps"),
            pool=texts(document, "pool"),
            is_multi_label=flag(document, "multi_label"),
            thresholds=numbers(document, "thresholds"),
            temperature=number_or_none(document, "temperature"),
            backbones=tuple(map(Backbone.from_json, backbones)),
            sample=text(document, "sample"),
            lake=text(document, "lake"),
            labels_digest=text(document, "labels_digest"),
            seed=whole(document, "seed"),
            versions={name: text(versions, name) for name in versions},
        )
