"""One head of a folder at a time: which version is in use, whether it fits the model, and choosing another."""

from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.lake.publishing.backends import backend_at
from pipeline.lake.publishing.store import MissingFile
from pipeline.media.sampling.rule import SamplingRule
from pipeline.media.sampling.rules import parse_rule
from pipeline.models.heads.files import CURRENT, HEAD_JSON, WEIGHTS
from pipeline.models.heads.head import Head
from pipeline.models.heads.registry import Heads, current_bytes, score_of
from pipeline.records.heads import HeadInfo, is_head_name
from pipeline.records.model_info import ModelInfo, Precision, feature_fingerprint
from pipeline.records.units import Units


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedHead:
    """One version of a head that is loaded, fits the model, and has answered once."""

    name: str
    version: int
    head: Head
    rule: SamplingRule
    """By which its lake was sampled."""
    score: float | None
    """Balanced accuracy over its test part, if there was one."""

    @property
    def info(self) -> HeadInfo:
        """What is known of it."""
        return self.head.info

    @property
    def digest(self) -> str:
        """Of all that it answers by."""
        return self.head.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class InUse:
    """Which version of a head is in use, and what tells its files from their replacements."""

    version: int
    files: tuple[str | None, ...]


class HeadFolder:
    """The folder of heads of one server, seen with the eyes of its model.

    All methods raise ``StorageError`` where the store fails.
    """

    def __init__(self, uri: str, *, model: ModelInfo, precision: Precision) -> None:
        """Nothing is read yet.

        Raises:
            UsageError: heads cannot be kept there.
        """
        self._uri = uri.rstrip("/")
        self._store = backend_at(uri).store
        self._heads = Heads(self._store)
        self._model = model
        self._precision = precision

    @property
    def uri(self) -> str:
        """Of the folder."""
        return self._store.uri

    def names(self) -> list[str]:
        """The folders in it, whether or not they hold a head."""
        return self._store.folders("")

    def mark(self, name: str) -> str | None:
        """What tells that another version was chosen; ``None``: none is in use."""
        return self._store.version(f"{name}/{CURRENT}")

    def in_use(self, name: str) -> InUse | None:
        """The version in use, if one is.

        Raises:
            UsageError: ``current`` holds no version's number.
        """
        version = self._heads.current(name)
        return None if version is None else self.as_in_use(name, version)

    def as_in_use(self, name: str, version: int) -> InUse:
        """A version, as ``in_use`` gives it where it is the one."""
        return InUse(
            version=version,
            files=tuple(self._store.version(f"{name}/{version}/{file}") for file in (HEAD_JSON, WEIGHTS)),
        )

    def versions(self, name: str) -> list[int]:
        """The versions that there are, in ascending order."""
        return self._heads.versions(name) if is_head_name(name) else []

    def load(self, name: str, version: int) -> ServedHead:
        """Load a version and have it answer once.

        Raises:
            UsageError: it cannot answer beside this model, and why.
        """
        if not is_head_name(name):
            raise UsageError("its name has other characters than letters, digits, '_', '.' and '-', or too many")
        if name == self._model.name:
            raise UsageError("it is named like the model")
        try:
            head = self._heads.load(name, version).head
        except MissingFile:
            raise UsageError(f"there is no version {version}, or it is not whole") from None
        self._require_fit(head.info)
        rule = parse_rule(head.info.sample)
        _answer_once(head)
        return ServedHead(name=name, version=version, head=head, rule=rule, score=self._score(name, version))

    def use(self, name: str, version: int) -> None:
        """Write down that a version is in use, from now on and on every server of this folder."""
        store = backend_at(f"{self._uri}/{name}").store
        store.publish(CURRENT, current_bytes(version), overwrite=True)

    def _require_fit(self, info: HeadInfo) -> None:
        if len(info.backbones) > 1:
            names = ", ".join(backbone.model.name for backbone in info.backbones)
            raise UsageError(f"it takes the features of several models, {names}; a server holds one")
        [backbone] = info.backbones
        served = feature_fingerprint(self._model, self._precision)
        if backbone.fingerprint != served:
            raise UsageError(
                f"it takes features of {backbone.fingerprint} ({backbone.model.name}, {backbone.precision}), "
                f"and {served} ({self._model.name}, {self._precision}) is served"
            )

    def _score(self, name: str, version: int) -> float | None:
        try:
            metrics = self._heads.metrics(name, version)
        except (MissingFile, UsageError):
            return None
        return score_of(metrics)


def _answer_once(head: Head) -> None:
    head.of_units(np.zeros((2, head.info.dim), np.float32), rows_as_one(2), runs=np.zeros(2, np.int64))


def rows_as_one(num_rows: int, *, num_before: int = 0) -> Units:
    """One unit of the last ``num_rows`` rows, behind ``num_before`` others; nobody asks when it is."""
    return Units(
        begin=np.array([num_before], np.int64),
        end=np.array([num_before + num_rows], np.int64),
        time_s=np.zeros(1),
        end_s=np.zeros(1),
    )
