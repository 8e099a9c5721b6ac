"""Light that changes all over the picture: a camera's exposure, a cloud, a lamp. Nothing has moved then."""

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]
"""``uint8[h, w]``, the decoder's luma plane made small."""

Light = NDArray[np.float32]
"""``float32[h, w]``: luma above black, at least 1."""

_BLACK = 16
WHITE = 219.0
"""What is as bright as this may have been brighter still."""

_DARK, _BRIGHT = 8.0, 190.0
"""Outside of these, the ratio of two pictures says little about their exposure."""


def light_of(luma: Luma) -> Light:
    """A picture as ratios are taken of it."""
    return np.maximum(luma.astype(np.float32) - _BLACK, 1)


def gain_between(before: Light, after: Light, *, among: NDArray[np.bool_] | None = None) -> float:
    """How many times as bright the picture has become: the median, so that what moves does not count.

    Args:
        before: one picture.
        after: the other one.
        among: where to look, if that is enough of the picture.
    """
    is_telling = (before > _DARK) & (before < _BRIGHT)
    places = is_telling if among is None else is_telling & among
    for usable in (places, is_telling):
        if np.count_nonzero(usable) >= before.size // 5:
            return float(np.median(after[usable] / before[usable]))
    return 1.0


def spread_of(differences: Light) -> float:
    """The standard deviation of what is noise among differences, most of which are."""
    return 1.48 * float(np.median(np.abs(differences))) if differences.size else 0.0
