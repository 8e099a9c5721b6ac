"""Which part each group of units is for: drawn by the seed, so that every part sees every class where that can be."""

import numpy as np
from numpy.typing import NDArray

from pipeline.training.examples import PARTS
from pipeline.training.request import SplitOptions

_TRAIN, _VALIDATION, _TEST = range(len(PARTS))


def split_groups(
    groups: NDArray[np.int64], labels: NDArray[np.int64], *, num_groups: int, options: SplitOptions
) -> NDArray[np.int8]:
    """Draw the part of each group.

    Training gets a group of every class first. Then each class is shared out as ``options`` say, the rarest first: a
    group goes where its class lacks most. A class of two groups is for training and test, one of three for all parts.

    Args:
        groups: with ``labels`` the pairs of a group, 0 to ``num_groups - 1``, and a label in it, each pair once.
        labels: from 0 on.
        num_groups: each has a label.
        options: the shares of the parts, and the seed.

    Returns:
        ``int8[num_groups]``: places in ``PARTS``.
    """
    num_labels = int(labels.max(initial=-1)) + 1
    sizes = np.bincount(labels, minlength=num_labels)
    drawing = _Drawing(groups, labels, quotas=[_quota(int(size), options) for size in sizes], num_groups=num_groups)
    turn = np.empty(num_groups, np.int64)
    turn[np.random.default_rng(options.seed).permutation(num_groups)] = np.arange(num_groups)
    by_label = np.lexsort((turn[groups], labels))
    members = np.split(groups[by_label], np.cumsum(sizes)[:-1]) if num_labels else []
    rarest_first = np.argsort(sizes, kind="stable").tolist()
    for label in rarest_first:
        drawing.give_training(label, members[label].tolist())
    for label in rarest_first:
        drawing.share_out(label, members[label].tolist())
    return np.array(drawing.parts, np.int8)


class _Drawing:
    """Groups on their way to parts."""

    def __init__(
        self, groups: NDArray[np.int64], labels: NDArray[np.int64], *, quotas: list[list[int]], num_groups: int
    ) -> None:
        self.parts = [-1] * num_groups
        self._quotas = quotas
        by_group = np.lexsort((labels, groups))
        self._labels = labels[by_group].tolist()
        self._ends = np.searchsorted(groups[by_group], np.arange(num_groups + 1)).tolist()
        self._is_trained = [False] * len(quotas)

    def give_training(self, label: int, members: list[int]) -> None:
        """Give training a group with this label, unless it has one."""
        free = (group for group in members if self.parts[group] < 0)
        first = None if self._is_trained[label] else next(free, None)
        if first is not None:
            self._put(first, _TRAIN)

    def share_out(self, label: int, members: list[int]) -> None:
        """Give the groups with this label that are left each to the part that lacks it most."""
        for group in members:
            if self.parts[group] < 0:
                own = self._labels_of(group)
                lacks = [
                    (self._quotas[label][part], sum(self._quotas[other][part] for other in own), -part)
                    for part in range(len(PARTS))
                ]
                self._put(group, lacks.index(max(lacks)))

    def _put(self, group: int, part: int) -> None:
        self.parts[group] = part
        for label in self._labels_of(group):
            self._quotas[label][part] -= 1
            self._is_trained[label] |= part == _TRAIN

    def _labels_of(self, group: int) -> list[int]:
        own: list[int] = self._labels[self._ends[group] : self._ends[group + 1]]
        return own


def _quota(num_groups: int, options: SplitOptions) -> list[int]:
    """How many groups of a class each part should get: training at least one, then test, then validation."""
    test = min(_share(num_groups, options.test), max(0, num_groups - 1))
    validation = min(_share(num_groups, options.validation), max(0, num_groups - test - 1))
    quota = [0] * len(PARTS)
    quota[_TRAIN], quota[_VALIDATION], quota[_TEST] = num_groups - test - validation, validation, test
    return quota


def _share(num_groups: int, share: float) -> int:
    return max(1, int(share * num_groups + 0.5)) if share > 0 else 0
