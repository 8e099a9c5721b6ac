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


def tree_arrays(
    model: "DecisionTreeClassifier | RandomForestClassifier", *, num_labels: int, is_multi_label: bool = False
) -> Mapping[str, Array]:
    """The arrays of a tree or a forest, whose classes are places among the labels.

    Where several labels may hold, it was fitted to an output a label, each 0 or 1; leaves keep how probable each 1 is.
    """
    trees = list(model.estimators_) if hasattr(model, "estimators_") else [model]
    # The trees of a forest know its classes by their places among them.
    if is_multi_label:
        classes = model.classes_ if num_labels > 1 else [model.classes_]
        return _joined([_of_tree(tree.tree_, _ones(tree.tree_, classes=classes)) for tree in trees])
    return _joined([_of_tree(tree.tree_, _labels(tree.tree_, model.classes_, num_labels)) for tree in trees])


def boosting_arrays(
    model: "HistGradientBoostingClassifier", *, class_weights: NDArray[np.float64] | None = None
) -> Mapping[str, Array]:
    """The arrays of boosted trees, a column of scores for each label; for two labels one column for the second.

    With ``class_weights`` the odds are what they would be if units of each class were so many times as frequent.
    """
    trees = [_of_predictor(predictor.nodes) for turn in model._predictors for predictor in turn]
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    if class_weights is not None:
        logs = np.log(class_weights)
        baseline = baseline + (logs if len(baseline) > 1 else logs[1:] - logs[:1])
    return {**_joined(trees), BASELINE: baseline}


def _of_tree(tree: Any, values: NDArray[np.float64]) -> Mapping[str, Array]:
    is_leaf = tree.children_left == NONE
    return {
        "left": np.asarray(tree.children_left, np.int64),
        "right": np.asarray(tree.children_right, np.int64),
        "feature": np.where(is_leaf, 0, tree.feature).astype(np.int64),
        "threshold": np.where(is_leaf, 0.0, tree.threshold),
        "values": values[is_leaf],
    }


def _labels(tree: Any, classes: Array, num_labels: int) -> NDArray[np.float64]:
    """How probable each label is at each node; labels that the trees have not seen are not."""
    values = np.zeros((tree.node_count, num_labels))
    values[:, np.asarray(classes, np.int64)] = _shares(tree.value[:, 0])
    return values


def _ones(tree: Any, *, classes: Sequence[Array]) -> NDArray[np.float64]:
    """How probable it is at each node that each label holds."""
    return np.stack([_probability_of_one(tree.value[:, at], classes=own) for at, own in enumerate(classes)], axis=1)


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
