"""Where an object will be next: a Kalman filter that takes its velocity to be constant, but for small pushes."""

import math

import numpy as np
from numpy.typing import NDArray

from pipeline.records.geometry import Box, Point

_MEASURED = 0.06
"""How far the centre of a detector's box is off, in sizes of the object; all that follows is in these."""

_SPEED = 1.2
"""Of an object that was seen once, per second."""

_DOUBT = 0.3
"""How far it is off, in shares of the distance from where it was expected."""

_PUSH = 0.8
"""What changes its velocity, per second and second."""

_SLOWING_S = 1.0
"""What nobody sees has not gone on for ever: it is expected no farther on than in this time."""


class ConstantVelocity:
    """The centre of one object's box. Both axes have the same uncertainty, so one covariance serves them."""

    def __init__(self, box: Box) -> None:
        """It was seen for the first time."""
        self.size = size_of(box)
        self._centre: NDArray[np.float64] = np.array([box.centre.x, box.centre.y])
        self._velocity: NDArray[np.float64] = np.zeros(2)
        self._covariance = np.diag([_MEASURED**2, _SPEED**2]) * self.size**2

    def predicted(self, after_s: float, *, usual_s: float) -> Point:
        """Where it is so many seconds after it was last seen; after more than usual it may have slowed down."""
        missed_s = max(0.0, after_s - usual_s)
        moved_s = after_s - missed_s + _SLOWING_S * (1 - math.exp(-missed_s / _SLOWING_S))
        x, y = self._centre + moved_s * self._velocity
        return Point(x=float(x), y=float(y))

    def uncertainty(self, after_s: float) -> float:
        """The standard deviation of where it will be seen, on either axis."""
        return math.sqrt(self._ahead(after_s)[0, 0] + (_MEASURED * self.size) ** 2)

    def update(self, box: Box, after_s: float) -> None:
        """It was seen again."""
        covariance = self._ahead(after_s)
        self.size = math.sqrt(self.size * size_of(box))
        expected = self._centre + after_s * self._velocity
        surprise = np.array([box.centre.x, box.centre.y]) - expected
        # A box far from where it is expected may be another object's: it moves the estimate by less of its distance.
        measured = max(_MEASURED * self.size, _DOUBT * float(np.hypot(*surprise)))
        gain = covariance[:, 0] / (covariance[0, 0] + measured**2)
        self._centre = expected + gain[0] * surprise
        self._velocity = self._velocity + gain[1] * surprise
        self._covariance = covariance - np.outer(gain, covariance[0])

    def _ahead(self, after_s: float) -> NDArray[np.float64]:
        step = np.array([[1.0, after_s], [0.0, 1.0]])
        push = (_PUSH * self.size) ** 2 * np.array([[after_s**4 / 4, after_s**3 / 2], [after_s**3 / 2, after_s**2]])
        ahead: NDArray[np.float64] = step @ self._covariance @ step.T + push
        return ahead


def size_of(box: Box) -> float:
    """The edge of a square as large as a box."""
    return max(1e-3, math.sqrt(max(0.0, box.width * box.height)))
