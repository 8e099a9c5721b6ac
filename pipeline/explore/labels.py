"""By words: what gives rows probabilities of labels, and which labels some words mean."""

import difflib
import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.records.units import VideoSamples

_MOST_NAMED = 5
_LEAST_ALIKE = 0.5


class LabelScorer(Protocol):
    """A model's own classification layer, or a head."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What its columns mean."""

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of ``float32[N, D]``: ``float32[N, labels]``."""


@runtime_checkable
class UnitScorer(LabelScorer, Protocol):
    """A head whose answers need the samples of a unit together."""

    def of_video(self, features: NDArray[np.float32], samples: VideoSamples) -> NDArray[np.float32]:
        """Of the rows of a video, each by the units that it is part of: ``float32[N, labels]``, the most probable."""


def labels_of(words: str, labels: Sequence[str], *, whose: str) -> tuple[int, ...]:
    """The labels that some words mean: the one that is called so, or all in which the words stand one after the other.

    ``bottle`` means water bottle, wine bottle and beer bottle; ``sports car`` means itself alone. A label may have
    several names, between commas.

    Raises:
        UsageError: there is none; those with the nearest names are named.
    """
    wanted = _plain(words)
    names = [[_plain(name) for name in label.split(",")] for label in labels]
    called = tuple(at for at, own in enumerate(names) if wanted in own)
    if called and wanted:
        return called
    within = tuple(at for at, own in enumerate(names) if any(f" {wanted} " in f" {name} " for name in own))
    if within and wanted:
        return within
    near = nearest(wanted, names)
    if not near:
        raise UsageError(f"{whose} knows no {words!r}: it has {len(labels)} labels, such as {_some(labels[:3])}")
    raise UsageError(f"{whose} knows no {words!r}; near it are {_some([labels[at] for at in near])}")


def nearest(wanted: str, names: Sequence[Sequence[str]]) -> list[int]:
    """The labels of whose names one is most like some words, whatever spaces are between them, the most alike first."""
    joined = wanted.replace(" ", "")

    def alike(name: str) -> float:
        whole = difflib.SequenceMatcher(None, joined, name.replace(" ", "")).ratio()
        words = [difflib.SequenceMatcher(None, joined, word).ratio() for word in name.split()]
        return max([whole, *(0.99 * word for word in words)])

    ranked = sorted((-max(map(alike, own)), at) for at, own in enumerate(names))
    return [at for likeness, at in ranked[:_MOST_NAMED] if -likeness >= _LEAST_ALIKE]


def _some(labels: Sequence[str]) -> str:
    """By the first name of each."""
    return ", ".join(label.split(",")[0] for label in labels)


def _plain(words: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", words.casefold()))
