"""The part of a head behind the feature steps: vectors or sequences to probabilities, one class a family of kinds."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from typing_extensions import override

from pipeline.models.heads.arrays import Arrays, Shape, prefixed
from pipeline.models.heads.networks import network_from, network_shapes
from pipeline.models.heads.probabilities import logits_of, of_logits
from pipeline.models.heads.sequences import SequenceScorer
from pipeline.models.heads.trees import Trees, averaged, summed, tree_shapes, trees_from
from pipeline.records.heads import TREE_KINDS, HeadInfo

Features = NDArray[np.float32]

NETWORK = "network."
TREES = "trees."
BASELINE = "baseline"


class VectorScorer(Protocol):
    """Takes one vector a unit."""

    def logits(self, vectors: Features) -> NDArray[np.float64] | NDArray[np.float32]:
        """What a temperature divides: ``[N, C]``."""

    def probabilities(self, vectors: Features, *, temperature: float | None) -> NDArray[np.float32]:
        """``float32[N, C]`` of ``float32[N, D]``."""


class NetworkScorer(VectorScorer):
    """A linear layer, or one with a hidden layer."""

    def __init__(self, network: nn.Module, *, is_multi_label: bool) -> None:
        self._network = network
        self._is_multi_label = is_multi_label

    @override
    def logits(self, vectors: Features) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = self._network(torch.from_numpy(np.ascontiguousarray(vectors))).numpy()
        return logits

    @override
    def probabilities(self, vectors: Features, *, temperature: float | None) -> NDArray[np.float32]:
        return of_logits(self.logits(vectors), is_multi_label=self._is_multi_label, temperature=temperature)


class TreeScorer(VectorScorer):
    """A tree or a forest: the mean of what its leaves say, which without a temperature are the probabilities."""

    def __init__(self, trees: Trees, *, is_multi_label: bool) -> None:
        self._trees = trees
        self._is_multi_label = is_multi_label

    @override
    def logits(self, vectors: Features) -> NDArray[np.float64]:
        return logits_of(averaged(self._trees, vectors), is_multi_label=self._is_multi_label)

    @override
    def probabilities(self, vectors: Features, *, temperature: float | None) -> NDArray[np.float32]:
        if temperature is None:
            return averaged(self._trees, vectors).astype(np.float32)
        return of_logits(self.logits(vectors), is_multi_label=self._is_multi_label, temperature=temperature)


class BoostingScorer(VectorScorer):
    """Boosted trees: one column of scores for two labels, else one for each."""

    def __init__(self, trees: Trees, *, baseline: NDArray[np.float64]) -> None:
        self._trees = trees
        self._baseline = baseline

    @override
    def logits(self, vectors: Features) -> NDArray[np.float64]:
        scores = summed(self._trees, vectors, baseline=self._baseline)
        return scores if scores.shape[1] > 1 else np.concatenate([np.zeros_like(scores), scores], axis=1)

    @override
    def probabilities(self, vectors: Features, *, temperature: float | None) -> NDArray[np.float32]:
        return of_logits(self.logits(vectors), is_multi_label=False, temperature=temperature)


def scorer_shapes(info: HeadInfo, *, dim: int) -> Mapping[str, Shape]:
    """The arrays that the part of a head behind its steps has, for vectors of ``dim`` values.

    Raises:
        ValueError: its kind has no such part.
    """
    num_labels = len(info.labels)
    if info.kind.name not in TREE_KINDS:
        shapes = network_shapes(info.kind, dim=dim, num_labels=num_labels)
        return {f"{NETWORK}{name}": shape for name, shape in shapes.items()}
    if info.kind.name != "boosting":
        return {f"{TREES}{name}": shape for name, shape in tree_shapes(num_columns=num_labels).items()}
    if info.is_multi_label or num_labels < 2:
        raise ValueError("boosting has one label a unit, of two or more")
    shapes = {f"{TREES}{name}": shape for name, shape in tree_shapes(num_columns=1).items()}
    return {**shapes, BASELINE: Shape(dtype="float64", sizes=(1 if num_labels == 2 else num_labels,))}


def scorer_of(info: HeadInfo, arrays: Arrays, *, dim: int) -> VectorScorer | SequenceScorer:
    """The part of a head behind its steps, over arrays that ``scorer_shapes`` describes.

    Raises:
        ValueError: they are no trees.
    """
    if info.kind.name not in TREE_KINDS:
        numbers = prefixed(arrays, NETWORK)
        network = network_from(info.kind, numbers, dim=dim, num_labels=len(info.labels))
        scorer = SequenceScorer if info.kind.takes_sequences else NetworkScorer
        return scorer(network, is_multi_label=info.is_multi_label)
    trees = trees_from(prefixed(arrays, TREES), dim=dim)
    if info.kind.name != "boosting":
        return TreeScorer(trees, is_multi_label=info.is_multi_label)
    baseline = arrays[BASELINE]
    if len(trees.roots) % len(baseline):
        raise ValueError(f"{len(trees.roots)} trees for {len(baseline)} columns")
    return BoostingScorer(trees, baseline=baseline)
