"""What makes a dataset, and its fingerprint."""

from dataclasses import asdict, dataclass
from typing import Literal, Self, TypeVar, get_args

from pipeline.records.documents import Document, part, text, whole
from pipeline.records.model_info import FeatureType, ModelInfo, Precision, feature_fingerprint
from pipeline.records.windows import Windows

Word = TypeVar("Word", bound=str)

Content = Literal["features", "inputs"]
"""``inputs``: the samples as the model takes them, ``uint8``, to train a network on; ``dtype`` then says nothing."""

_CONTENTS: tuple[Content, ...] = get_args(Content)
_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_FEATURE_TYPES: tuple[FeatureType, ...] = get_args(FeatureType)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """What every row of a dataset has in common. Another one into the same folder is refused."""

    model: ModelInfo
    sample: str
    precision: Precision
    dtype: FeatureType
    content: Content = "features"
    stride: int | None = None
    """How many samples a window begins after the one before, where the model takes clips."""
    lead: int = 0
    """Samples of a window before those that it gives rows for, where rows are samples all the same."""

    def __post_init__(self) -> None:
        if (self.stride is None) != (self.model.preprocessing.window is None):
            raise ValueError("a model of clips has a stride, and no other has one")
        if self.windows is not None and self.content == "inputs":
            raise ValueError("the samples of clips are not kept")

    @property
    def windows(self) -> Windows | None:
        """How samples form windows, each of which is a row; ``None``: each sample is a row."""
        length = self.model.preprocessing.window
        if length is None or self.stride is None:
            return None
        return Windows(length=length, stride=self.stride, lead=self.lead)

    @property
    def fingerprint(self) -> str:
        """That of its features: see ``feature_fingerprint``."""
        return feature_fingerprint(self.model, self.precision)

    def to_json(self) -> Document:
        """A JSON document that ``from_json`` reads back."""
        return {
            "model": self.model.to_json(),
            "sample": self.sample,
            "precision": self.precision,
            "dtype": self.dtype,
            **({} if self.content == "features" else {"content": self.content}),
            **({} if self.stride is None else {"stride": self.stride}),
            **({"lead": self.lead} if self.lead else {}),
        }

    @classmethod
    def from_json(cls, document: Document) -> Self:
        """The inverse of ``to_json``; keys that are not ours are left alone.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is no such document.
        """
        return cls(
            model=ModelInfo.from_json(part(document, "model")),
            sample=text(document, "sample"),
            precision=_one_of(document, "precision", _PRECISIONS),
            dtype=_one_of(document, "dtype", _FEATURE_TYPES),
            content=_one_of(document, "content", _CONTENTS) if "content" in document else "features",
            stride=whole(document, "stride") if "stride" in document else None,
            lead=whole(document, "lead") if "lead" in document else 0,
        )

    def difference(self, other: "DatasetConfig") -> str | None:
        """The first setting in which ``other`` differs, as ``NAME is MINE, not ITS``; ``None``: it is the same."""
        for name, (mine, theirs) in self.differences(other).items():
            return f"{name} is {mine}, not {theirs}"
        return None

    def differences(self, other: "DatasetConfig") -> dict[str, tuple[object, object]]:
        """All settings in which ``other`` differs, each with its value here and there."""
        mine, theirs = self._settings(), other._settings()
        return {name: (value, theirs[name]) for name, value in mine.items() if theirs[name] != value}

    def _settings(self) -> dict[str, object]:
        """What can differ, by the names that a user knows, the likeliest cause first."""
        preprocessing = asdict(self.model.preprocessing)
        return {
            "--model": self.model.name,
            "--sample": self.sample,
            "--window": "none" if self.windows is None else str(self.windows),
            "--precision": self.precision,
            "--dtype": self.dtype,
            "the digest of --weights": self.model.weights_digest,
            "the length of a feature": self.model.dim,
            "the content": self.content,
            **{f"the preprocessing's {name}": value for name, value in preprocessing.items()},
        }


def _one_of(document: Document, name: str, allowed: tuple[Word, ...]) -> Word:
    value = text(document, name)
    for word in allowed:
        if word == value:
            return word
    raise ValueError(f"{name} is {value!r}, not one of {', '.join(allowed)}")
