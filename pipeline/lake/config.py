"""What makes a dataset, and its fingerprint."""

from dataclasses import dataclass
from typing import Any, Self, get_args

from pipeline.records.model_info import FeatureType, ModelInfo, Precision, feature_fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """What every row of a dataset has in common. Another one into the same folder is refused."""

    model: ModelInfo
    sample: str
    precision: Precision
    dtype: FeatureType

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
