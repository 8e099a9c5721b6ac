"""Decision trees, forests and boosted trees as plain arrays, with scikit-learn's probabilities.

All trees stand in one list of nodes, a parent before its children. A node without children is a leaf; leaves are
numbered in the order of their nodes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.models.heads.arrays import Arrays, Shape

MAX_DEPTH = 256
"""Of a tree: so many questions at most are asked of a vector."""

_MOST_PLACES = 1 << 20
"""Of vectors in trees at a time: what bounds memory, whatever the number of vectors."""

_FEW_PLACES = 1 << 10

NONE = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """One tree or several.

    Attributes:
        roots: ``int64[trees]``, the root of each.
        left: ``int64[nodes]``, where a vector goes whose value is at most the threshold; -1: a leaf.
        right: ``int64[nodes]``, where the others go; -1: a leaf.
        feature: ``int64[nodes]``, the place in the vector that a node looks at; 0 for leaves.
        threshold: ``float64[nodes]``.
        values: ``float64[leaves, columns]``.
    """

    roots: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    values: NDArray[np.float64]
    depth: int = field(init=False)
    _children: NDArray[np.intp] = field(init=False, repr=False)
    _leaf: NDArray[np.intp] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", _depth(self.roots, left=self.left, right=self.right))
        # A leaf leads to itself on both sides, so that all vectors can take the same number of steps.
        is_leaf, at = self.left == NONE, np.arange(len(self.left))
        children = np.stack([np.where(is_leaf, at, self.right), np.where(is_leaf, at, self.left)], axis=1)
        object.__setattr__(self, "_children", np.ascontiguousarray(children.reshape(-1), np.intp))
        object.__setattr__(self, "_leaf", np.cumsum(is_leaf, dtype=np.intp) - 1)

    def reached(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """The value of the leaf that each vector reaches in each tree: ``float64[trees, N, columns]``."""
        num, dim = x.shape
        flat = np.ascontiguousarray(x).reshape(-1)
        rows = np.arange(num, dtype=np.intp) * dim
        node = np.repeat(self.roots.astype(np.intp), num)
        rows = np.tile(rows, len(self.roots))
        # Few places are all asked until the deepest tree is done, which costs less than to know who is.
        on_the_way = None if len(node) <= _FEW_PLACES else np.arange(len(node))
        for _ in range(self.depth):
            if on_the_way is None:
                node = self._next(node, flat, rows)
                continue
            on_the_way = on_the_way[self.left[node[on_the_way]] != NONE]
            node[on_the_way] = self._next(node[on_the_way], flat, rows[on_the_way])
        reached: NDArray[np.float64] = self.values[self._leaf[node]].reshape(len(self.roots), num, -1)
        return reached

    def _next(self, node: NDArray[np.intp], flat: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.intp]:
        is_left = flat[rows + self.feature[node]] <= self.threshold[node]
        children: NDArray[np.intp] = self._children[2 * node + is_left]
        return children

    def arrays(self) -> Arrays:
        """By the names that ``SHAPES`` has."""
        return {name: getattr(self, name) for name in ("roots", "left", "right", "feature", "threshold", "values")}


def tree_shapes(*, num_columns: int) -> Mapping[str, Shape]:
    """What the arrays of trees must be, but for how many there are."""
    shapes = {name: Shape(dtype="int64", sizes=(None,)) for name in ("roots", "left", "right", "feature")}
    shapes["threshold"] = Shape(dtype="float64", sizes=(None,))
    shapes["values"] = Shape(dtype="float64", sizes=(None, num_columns))
    return shapes


def trees_from(arrays: Arrays, *, dim: int) -> Trees:
    """Trees over arrays that ``tree_shapes`` describes.

    Raises:
        ValueError: they are no trees over vectors of ``dim`` values.
    """
    roots, left, right, feature = (arrays[name] for name in ("roots", "left", "right", "feature"))
    num_nodes = len(left)
    if not len(right) == len(feature) == len(arrays["threshold"]) == num_nodes:
        raise ValueError("the nodes of the trees have arrays of different lengths")
    is_leaf = left == NONE
    if not ((left == NONE) == (right == NONE)).all():
        raise ValueError("a node of the trees has one child")
    inner = np.flatnonzero(~is_leaf)
    children = np.concatenate([left[inner], right[inner]])
    if ((children <= np.tile(inner, 2)) | (children >= num_nodes)).any():
        raise ValueError("a node of the trees has a child that does not come after it")
    if not len(roots) or (roots < 0).any() or (roots >= num_nodes).any():
        raise ValueError("the trees have no roots among their nodes")
    if (np.bincount(np.concatenate([children, roots]), minlength=num_nodes) != 1).any():
        raise ValueError("a node of the trees has no parent, or several")
    if (feature < 0).any() or (feature >= dim).any():
        raise ValueError(f"a node of the trees looks beyond the {dim} values of a vector")
    if len(arrays["values"]) != is_leaf.sum():
        raise ValueError(f"{len(arrays['values'])} values for {is_leaf.sum()} leaves")
    return Trees(**{name: arrays[name] for name in tree_shapes(num_columns=1)})


def averaged(trees: Trees, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean over all trees of what each vector reaches: ``float64[N, columns]``."""
    return _by_parts(trees, x, num_columns=trees.values.shape[1], combine=_mean)


def summed(trees: Trees, x: NDArray[np.float32], *, baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boosting's raw scores ``float64[N, columns]``: each tree adds to the column after that of the tree before it."""
    num_columns = len(baseline)

    def combine(reached: NDArray[np.float64]) -> NDArray[np.float64]:
        turns = reached[:, :, 0].reshape(-1, num_columns, reached.shape[1])
        scores: NDArray[np.float64] = baseline + turns.sum(axis=0).T
        return scores

    return _by_parts(trees, x, num_columns=num_columns, combine=combine)


def _mean(reached: NDArray[np.float64]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = reached.sum(axis=0) / len(reached)
    return mean


def _by_parts(
    trees: Trees,
    x: NDArray[np.float32],
    *,
    num_columns: int,
    combine: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Evaluate so many vectors at a time as ``_MOST_PLACES`` allow."""
    num_rows = max(1, _MOST_PLACES // (len(trees.roots) * trees.values.shape[1]))
    results = np.empty((len(x), num_columns), np.float64)
    for start in range(0, len(x), num_rows):
        results[start : start + num_rows] = combine(trees.reached(x[start : start + num_rows]))
    return results


def _depth(roots: NDArray[np.int64], *, left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    """How many questions a vector is asked at most."""
    depth, level = 0, roots
    while True:
        inner = level[left[level] != NONE]
        if not len(inner):
            return depth
        level = np.concatenate([left[inner], right[inner]])
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"the trees are deeper than {MAX_DEPTH}")
