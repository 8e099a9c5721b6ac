"""scikit-learn's fitted trees as the plain arrays that ``models.heads.trees`` evaluates."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.models.heads.scorers import BASELINE, TREES
from pipeline.models.heads.trees import NONE

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

Array = NDArray[Any]


def tree_arrays(model: "DecisionTreeClassifier | RandomForestClassifier", *, num_labels: int) -> Mapping[str, Array]:
    """The arrays of a tree or a forest, whose classes are places among the labels.

    Of one that was fitted to several outputs, which are 0 or 1 each, leaves keep how probable the 1 of each is.
    """
    trees = list(model.estimators_) if hasattr(model, "estimators_") else [model]
    # The trees of a forest know its classes by their places among them.
    return _joined([_of_tree(tree, classes=model.classes_, num_labels=num_labels) for tree in trees])


def boosting_arrays(model: "HistGradientBoostingClassifier", *, num_labels: int) -> Mapping[str, Array]:
    """The arrays of boosted trees, a column of scores for each label; for two labels one column for the second."""
    trees = [_of_predictor(predictor.nodes) for turn in model._predictors for predictor in turn]
    return {**_joined(trees), BASELINE: np.asarray(model._baseline_prediction, np.float64).reshape(-1)}


def _of_tree(model: "DecisionTreeClassifier", *, classes: Any, num_labels: int) -> Mapping[str, Array]:
    tree = model.tree_
    is_leaf = tree.children_left == NONE
    if tree.n_outputs > 1:
        columns = [_probability_of_one(tree.value[is_leaf, at], classes=own) for at, own in enumerate(classes)]
        values = np.stack(columns, axis=1)
    else:
        values = np.zeros((int(is_leaf.sum()), num_labels))
        values[:, np.asarray(classes, np.int64)] = _shares(tree.value[is_leaf, 0])
    return {
        "left": np.asarray(tree.children_left, np.int64),
        "right": np.asarray(tree.children_right, np.int64),
        "feature": np.where(is_leaf, 0, tree.feature).astype(np.int64),
        "threshold": np.where(is_leaf, 0.0, tree.threshold),
        "values": values,
    }


def _of_predictor(nodes: Array) -> Mapping[str, Array]:
    is_leaf = nodes["is_leaf"].astype(bool)
    return {
        "left": np.where(is_leaf, NONE, nodes["left"].astype(np.int64)),
        "right": np.where(is_leaf, NONE, nodes["right"].astype(np.int64)),
        "feature": np.where(is_leaf, 0, nodes["feature_idx"].astype(np.int64)),
        "threshold": np.where(is_leaf, 0.0, nodes["num_threshold"]),
        "values": nodes["value"][is_leaf][:, None].astype(np.float64),
    }


def _joined(trees: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """Trees one after another in one list of nodes."""
    roots = np.cumsum([0, *(len(tree["left"]) for tree in trees)])[:-1]
    joined = {"roots": roots.astype(np.int64)}
    for name in ("left", "right"):
        moved = [np.where(tree[name] == NONE, NONE, tree[name] + root) for tree, root in zip(trees, roots, strict=True)]
        joined[name] = np.concatenate(moved).astype(np.int64)
    for name in ("feature", "threshold", "values"):
        joined[name] = np.concatenate([tree[name] for tree in trees])
    return {f"{TREES}{name}": array for name, array in joined.items()}


def _shares(values: Array) -> NDArray[np.float64]:
    """scikit-learn 1.3 and later keep shares already, of weights that are sums of floats."""
    shares: NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
    return shares


def _probability_of_one(values: Array, *, classes: Array) -> NDArray[np.float64]:
    shares = _shares(values[:, : len(classes)])
    has_one = np.flatnonzero(np.asarray(classes) == 1)
    return shares[:, has_one[0]] if len(has_one) else np.zeros(len(values))
