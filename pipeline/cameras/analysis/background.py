"""What a fixed camera shows when nothing is there, learnt from what it shows."""

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.analysis.lighting import WHITE, Light, gain_between, spread_of

Mask = NDArray[np.bool_]
"""``bool[h, w]``."""

_LEARN_S = 5.0
"""Light that changes in places, such as a shadow of a house, is followed within some times this."""

_LEAST_DIFFERENCE = 6.0
_RELATIVE_DIFFERENCE = 0.08
_NOISE_TIMES = 4.0
_EDGE_SHARE = 0.35
"""Beside edges of the background a camera that trembles, or a curve of exposure, changes more than elsewhere."""


class Background:
    """Of one session, in the exposure of its first picture."""

    def __init__(self, first: Light) -> None:
        """Take the first picture for it; what is in it by chance is found to be a ghost once it has moved on."""
        self._light = first.copy()
        self._is_covered: Mask = np.zeros(first.shape, np.bool_)

    def compare(self, light: Light) -> "Compared":
        """Hold a picture against it, in the picture's own exposure."""
        gain = gain_between(self._light, light, among=~self._is_covered)
        expected = np.minimum(gain * self._light, WHITE)
        difference = light - expected
        noise = spread_of(difference[~self._is_covered])
        threshold = np.maximum(_LEAST_DIFFERENCE + _RELATIVE_DIFFERENCE * expected, _NOISE_TIMES * noise)
        threshold = threshold + _EDGE_SHARE * _range_around(expected)
        return Compared(light=light, gain=gain, expected=expected, noise=noise, threshold=threshold)

    def learn(self, compared: "Compared", *, since_s: float, covered: Mask, replaced: Mask) -> None:
        """Follow slow changes where nothing covers it, and take over what is to replace it.

        Args:
            compared: the latest picture.
            since_s: since the one before.
            covered: where something else than the background is seen.
            replaced: where what is seen is the background from now on.
        """
        seen = compared.light / compared.gain
        share = np.where(covered, 0.0, min(1.0, since_s / _LEARN_S)).astype(np.float32)
        share[replaced] = 1.0
        self._light += share * (seen - self._light)
        self._is_covered = covered & ~replaced


class Compared:
    """A picture beside the background that it is expected to show."""

    __slots__ = ("difference", "expected", "gain", "light", "noise", "threshold")

    def __init__(self, *, light: Light, gain: float, expected: Light, noise: float, threshold: Light) -> None:
        self.light = light
        self.gain = gain
        self.expected = expected
        self.noise = noise
        self.threshold = threshold
        self.difference: Light = light - expected

    @property
    def is_other(self) -> Mask:
        """Where it shows something else."""
        other: Mask = np.abs(self.difference) > self.threshold
        return other


def grown(mask: Mask, across_px: int) -> Mask:
    """A mask and all within half of so many pixels of it."""
    from scipy import ndimage

    larger: Mask = ndimage.maximum_filter(mask.view(np.uint8), across_px).view(np.bool_)  # faster than binary_dilation
    return larger


def shrunk(mask: Mask, across_px: int) -> Mask:
    """What of a mask has nothing else within half of so many pixels; outside of the picture is nothing."""
    from scipy import ndimage

    smaller: Mask = ndimage.minimum_filter(mask.view(np.uint8), across_px, mode="constant").view(np.bool_)
    return smaller


def _range_around(light: Light) -> Light:
    """The difference between the brightest and the darkest of each 3 x 3 pixels."""
    from scipy import ndimage

    around: Light = ndimage.maximum_filter(light, 3) - ndimage.minimum_filter(light, 3)
    return around
