"""Which labelled units belong together, so that none of them is tested on what another one taught."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.training.labels.label_rows import LabelRow

GroupedBy = Literal["column", "video", "range"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A label row and one of the videos that it is of: the smallest thing that goes to a part as a whole."""

    video: int
    """A number of its own for each labelled video."""
    row: LabelRow


def group_holdings(
    holdings: Sequence[Holding], *, by: GroupedBy, joined: Iterable[tuple[int, int]], twins: Iterable[tuple[int, int]]
) -> NDArray[np.int64]:
    """Number the groups of holdings, from 0 on.

    Args:
        holdings: those of a video stand side by side.
        by: the value of the column that groups, or the video where that has none; the video; or each range by itself.
        joined: pairs of places in ``holdings`` that hold a unit in common.
        twins: pairs of videos that show the same.
    """
    groups = _Groups(len(holdings))
    first_of: dict[Hashable, int] = {}
    for at, holding in enumerate(holdings):
        groups.join(first_of.setdefault(_key(holding, at, by=by), at), at)
    for one, other in joined:
        groups.join(one, other)
    first_of_video: dict[int, int] = {}
    for at, holding in enumerate(holdings):
        first_of_video.setdefault(holding.video, at)
    doubled = {video for pair in twins for video in pair}
    for at, holding in enumerate(holdings):
        if holding.video in doubled:
            groups.join(first_of_video[holding.video], at)
    for one, other in twins:
        groups.join(first_of_video[one], first_of_video[other])
    return groups.numbers()


def _key(holding: Holding, at: int, *, by: GroupedBy) -> Hashable:
    if by == "range":
        return at
    if by == "column" and holding.row.group is not None:
        return holding.row.group
    return holding.video


class _Groups:
    """Disjoint sets of numbers."""

    def __init__(self, num: int) -> None:
        self._parent = list(range(num))

    def join(self, one: int, other: int) -> None:
        """Make one set of two."""
        first, second = sorted((self._root(one), self._root(other)))
        self._parent[second] = first

    def numbers(self) -> NDArray[np.int64]:
        """The number of each one's set, in the order of their first members."""
        roots = np.array([self._root(at) for at in range(len(self._parent))], np.int64)
        return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int64)

    def _root(self, at: int) -> int:
        while self._parent[at] != at:
            self._parent[at] = self._parent[self._parent[at]]
            at = self._parent[at]
        return at
