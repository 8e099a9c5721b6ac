"""Which pixels that differ from the background belong to one thing: shadows left out, torn parts put together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.analysis.background import Compared, Mask, grown, shrunk
from pipeline.cameras.analysis.lighting import Light

_WINDOW = 5
"""Pixels across: the neighbourhood in which a shadow keeps what the background looks like."""

_DARKEST_SHADOW, _LIGHTEST_SHADOW = 0.35, 0.95
_LEAST_TEXTURE = 3.0
_RELATIVE_TEXTURE = 0.06
_NOISE_TIMES = 1.5

_LEAST_SHARE = 0.004
"""Of the picture, for a region's box; half as much must be filled."""

_CLOSED = 5
"""Pixels across: smaller clefts in a region are closed."""

_NARROW_SHARE = 0.7
"""A part that stands above or below another one, with so much of its width within the other's, may be torn from it."""

_CLEFT_SHARE = 0.08
"""Of the picture's height, between two parts of one thing."""

_SMALL_SHARE = 0.4
"""A part is at most so large, of what it is a part of: two cars one behind the other stay two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Pixels that belong together, in the rectangle of rows and columns that holds them."""

    top: int
    left: int
    mask: Mask
    """``bool[height, width]``."""

    @property
    def rectangle(self) -> tuple[slice, slice]:
        """Where it lies in the picture."""
        height, width = self.mask.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def within(self, picture: NDArray[np.bool_]) -> float:
        """The share of its pixels that are set in a picture's mask."""
        return float(picture[self.rectangle][self.mask].mean())


def regions_of(compared: Compared) -> list[Region]:
    """The things in a picture that are not its background, the small ones left out."""
    from scipy import ndimage

    other = compared.is_other
    solid = ndimage.binary_opening(other & ~shadow_of(compared), np.ones((2, 2)))
    margin = _CLOSED - 1  # what lies at the picture's edge is closed as elsewhere
    closed = shrunk(grown(np.pad(solid, margin), _CLOSED), _CLOSED)[margin:-margin, margin:-margin]
    labels, _ = ndimage.label(closed, np.ones((3, 3)))
    found = [
        Region(top=rows.start, left=columns.start, mask=labels[rows, columns] == number)
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1)
    ]
    least = _LEAST_SHARE * labels.size
    joined = _joined(found, cleft=_CLEFT_SHARE * labels.shape[0])
    return [region for region in joined if region.mask.size >= least and region.mask.sum() >= least / 2]


def shadow_of(compared: Compared) -> Mask:
    """Where the picture is the background, only darker: its texture has stayed."""
    from scipy import ndimage

    def mean(values: Light) -> Light:
        means: Light = ndimage.uniform_filter(values, _WINDOW)
        return means

    ratio = mean(compared.light) / np.maximum(mean(compared.expected), 1)
    texture = np.sqrt(np.maximum(mean(np.square(compared.light - ratio * compared.expected)), 0))
    most = np.maximum(_LEAST_TEXTURE, _RELATIVE_TEXTURE * compared.expected) + _NOISE_TIMES * compared.noise
    shadow: Mask = (ratio < _LIGHTEST_SHADOW) & (ratio > _DARKEST_SHADOW) & (texture < most)
    return shadow


def _joined(regions: list[Region], *, cleft: float) -> list[Region]:
    """Parts that were torn off upwards or downwards, such as feet, with what they belong to."""
    whole: list[Region] = []
    for region in sorted(regions, key=lambda region: -region.mask.sum()):
        owner = next((other for other in whole if _is_part(region, other, cleft=cleft)), None)
        if owner is None:
            whole.append(region)
        else:
            whole[whole.index(owner)] = _union(owner, region)
    return whole


def _is_part(part: Region, owner: Region, *, cleft: float) -> bool:
    (rows, columns), (owner_rows, owner_columns) = part.rectangle, owner.rectangle
    shared = min(columns.stop, owner_columns.stop) - max(columns.start, owner_columns.start)
    distance = max(rows.start, owner_rows.start) - min(rows.stop, owner_rows.stop)
    return bool(
        part.mask.sum() <= _SMALL_SHARE * owner.mask.sum()
        and shared >= _NARROW_SHARE * (columns.stop - columns.start)
        and distance <= cleft
    )


def _union(first: Region, second: Region) -> Region:
    rows, columns = zip(first.rectangle, second.rectangle, strict=True)
    top, left = min(each.start for each in rows), min(each.start for each in columns)
    mask = np.zeros((max(each.stop for each in rows) - top, max(each.stop for each in columns) - left), np.bool_)
    for region in (first, second):
        height, width = region.mask.shape
        mask[region.top - top :, region.left - left :][:height, :width] |= region.mask
    return Region(top=top, left=left, mask=mask)
