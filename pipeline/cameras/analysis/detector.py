"""What every detector is to a stream: pictures in, objects with boxes out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.records.geometry import Detection

Pixels = NDArray[np.uint8]
"""An upright RGB picture, ``uint8[H, W, 3]``."""


class DetectionFailed(PipelineError):
    """A detector has no answer for this picture: too late, unreachable, or not in the contract's form.

    The picture counts as not looked at, which is something else than a picture without objects.
    """


class Detector(Protocol):
    """Finds objects, one picture after another. It runs elsewhere: the stream's event loop only waits for it."""

    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        """The objects in a picture.

        Raises:
            DetectionFailed: there is no answer.
        """

    async def close(self) -> None:
        """Give back what it holds."""
