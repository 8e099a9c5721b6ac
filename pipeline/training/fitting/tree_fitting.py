"""Trees, forests and boosted trees, by scikit-learn; their numbers leave it as plain arrays."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.models.heads.files import MAX_WEIGHTS_BYTES
from pipeline.models.heads.trees import MAX_DEPTH
from pipeline.training.fitting.losses import loss_of
from pipeline.training.fitting.scratch import Part
from pipeline.training.fitting.tree_arrays import boosting_arrays, tree_arrays
from pipeline.training.request import FitOptions

NUM_TREES = 100

MOST_BYTES = MAX_WEIGHTS_BYTES // 2
"""Of the numbers of all trees."""

MOST_NUMBERS = 1 << 27
"""Of all vectors that trees are grown from: they are in memory at once, and boosting keeps them twice as wide."""

_SHARE_PER_SPLIT = 0.1
"""Of the dimensions that boosting looks at for each question: on features of pictures it is right more often so."""

_LEAST_PER_SPLIT = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """Trees, and how much of the training part they are from."""

    arrays: Mapping[str, NDArray[Any]]
    num_units_used: int


def grow(part: Part, options: FitOptions, *, is_multi_label: bool, most_numbers: int = MOST_NUMBERS) -> Grown:
    """Grow trees from the training part.

    Raises:
        UsageError: boosting, where several labels may hold or there is but one.
    """
    num_labels = part.targets.shape[1]
    if options.kind.name == "boosting" and (is_multi_label or num_labels < 2):
        advice = "use forest for it" if is_multi_label else "give a second label"
        raise UsageError(f"--head boosting: has one label a unit, of two or more; {advice}")
    chosen = chosen_units(part, seed=options.seed, most=max(num_labels, most_numbers // part.rows.shape[1]))
    vectors = part.rows.take(chosen)
    targets = np.array(part.targets[chosen])
    labels = targets.astype(np.int64) if is_multi_label else targets.argmax(axis=1)
    if is_multi_label and num_labels == 1:
        labels = labels[:, 0]
    model = _model(options, vectors.shape, num_labels=num_labels, is_multi_label=is_multi_label).fit(vectors, labels)
    if options.kind.name == "boosting":
        weights = loss_of(targets, is_multi_label=False, class_weights=options.class_weights).weights.double().numpy()
        arrays = boosting_arrays(model, class_weights=weights)
    else:
        arrays = tree_arrays(model, num_labels=num_labels, is_multi_label=is_multi_label)
    return Grown(arrays=arrays, num_units_used=len(chosen))


def chosen_units(part: Part, *, seed: int, most: int) -> NDArray[np.int64]:
    """All units, or so many by the seed; of each label that holds anywhere at least one."""
    num = len(part)
    if num <= most:
        return np.arange(num)
    order = np.random.default_rng([seed % (1 << 63), 0]).permutation(num)
    first = {int(np.argmax(part.targets[order, at] > 0)) for at in range(part.targets.shape[1])}
    rest = [place for place in range(min(num, most + len(first))) if place not in first]
    return np.sort(order[sorted([*first, *rest[: most - len(first)]])])


def least_per_leaf(num_units: int, *, num_trees: int, num_labels: int) -> int:
    """Of units in a leaf: 1, but where that many leaves would make a file that nobody could read."""
    node_bytes = 2 * 40 + 8 * num_labels
    return max(1, -(-num_units * num_trees * node_bytes // MOST_BYTES))


def _model(options: FitOptions, shape: tuple[int, int], *, num_labels: int, is_multi_label: bool) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    # Of several outputs scikit-learn multiplies the weights, which says nothing any more.
    weights = None if is_multi_label or options.class_weights == "none" else "balanced"
    seed = options.seed % (1 << 32)
    num_units, dim = shape
    num_trees = 1 if options.kind.name == "tree" else NUM_TREES
    leaf = least_per_leaf(num_units, num_trees=num_trees, num_labels=num_labels)
    limits = {"max_depth": MAX_DEPTH, "min_samples_leaf": leaf, "class_weight": weights, "random_state": seed}
    if options.kind.name == "tree":
        return DecisionTreeClassifier(**limits)
    if options.kind.name == "forest":
        # Each tree has a seed of its own: they are the same in any number of threads.
        return RandomForestClassifier(NUM_TREES, **limits, n_jobs=os.cpu_count())
    # Weights are left to ``boosting_arrays``: with them the library takes a minute to divide a thousand dimensions.
    share = min(1.0, max(_SHARE_PER_SPLIT, _LEAST_PER_SPLIT / dim))
    return HistGradientBoostingClassifier(
        max_iter=NUM_TREES, max_depth=MAX_DEPTH, max_features=share, early_stopping=False, random_state=seed
    )
