"""The part of every label: what the column ``split`` says or, without one, what is drawn group by group."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.training.examples import PARTS
from pipeline.training.labels.groups import GroupedBy, group_holdings
from pipeline.training.labels.split import split_groups
from pipeline.training.labels.survey import Survey
from pipeline.training.request import SplitOptions

SplitBy = Literal["split column", "column", "video", "range"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The part and the group of each holding of a survey."""

    by: SplitBy
    """What the split went by."""
    parts: NDArray[np.int8]
    """Places in ``PARTS``."""
    groups: NDArray[np.int64]
    num_groups: int

    def has(self, part: str, survey: Survey) -> bool:
        """Whether a part has a unit."""
        return bool(survey.units_of[self.parts == PARTS.index(part)].any())


def parts_of(survey: Survey, options: SplitOptions, *, has_parts: bool, group: str | None) -> Parts:
    """Find the part of each holding.

    Args:
        survey: of the labels.
        options: the shares and the seed, where the part is drawn.
        has_parts: whether the label rows say it themselves.
        group: the column that groups, if any.
    """
    used = survey.units_of > 0
    by = _grouped_by(survey, used, group=group)
    numbers = group_holdings(survey.holdings, by=by, joined=survey.joined, twins=survey.twins)
    # Groups without a unit take no part in the draw: they would make it another one.
    drawn, groups = np.unique(numbers[used], return_inverse=True)
    if has_parts:
        parts = np.array([PARTS.index(holding.row.part or PARTS[0]) for holding in survey.holdings], np.int8)
    else:
        pairs = np.unique(np.stack([numbers[survey.holding], survey.label], axis=1), axis=0)
        of_group = split_groups(
            np.searchsorted(drawn, pairs[:, 0]), pairs[:, 1], num_groups=len(drawn), options=options
        )
        parts = np.zeros(len(numbers), np.int8)
        parts[used] = of_group[groups.reshape(-1)]
    return Parts(by="split column" if has_parts else by, parts=parts, groups=numbers, num_groups=len(drawn))


def _grouped_by(survey: Survey, used: NDArray[np.bool_], *, group: str | None) -> GroupedBy:
    if group is not None:
        return "column"
    videos = {holding.video for holding, is_used in zip(survey.holdings, used.tolist(), strict=True) if is_used}
    return "range" if len(videos) == 1 else "video"
