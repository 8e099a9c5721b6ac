"""One session looked at: its pictures in, the gate's state, events and places of objects out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cameras.analysis.detector import Detector, Pixels
from pipeline.cameras.rules.happenings import Moment, NewEventId
from pipeline.records.events import Event, TrackPoint
from pipeline.records.streams import Session, StreamSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A frame as the analysis takes it: each frame of the session, samples or not, in the order of time."""

    moment: Moment
    luma: NDArray[np.uint8]
    """``uint8[h, w]``, about 160 pixels wide."""
    is_corrupt: bool = False
    """Such a frame is passed over."""
    full: Pixels | None = None
    """Given where a detector that takes pictures is to look at it; ``motion`` needs none."""
    detect: bool = False
    """Whether objects are to be detected in it (``--detect-rate``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What there is to tell after a picture. Events and points may be of earlier pictures: each says its own time."""

    is_moving: bool
    """Whether the gate is open: a sample slot of this picture goes to the model. Always with ``--motion off``."""
    events: Sequence[Event] = ()
    points: Sequence[TrackPoint] = ()
    problem: str | None = None
    """Why the detector gave no answer lately; a stream shows it as its last error, and goes on."""


class Analysis:
    """Of one session: motion gate, objects, tracks, lines, zones and labels. Not for use by several threads.

    ``frame`` and ``label`` never wait: what a detector answers is in the ``Looked`` of a later picture. They are called
    in an event loop, in which the detector's answers are awaited.
    """

    def __init__(
        self, spec: StreamSpec, *, session: Session, new_event_id: NewEventId, detector: Detector | None = None
    ) -> None:
        """Begin a session.

        Args:
            spec: what is looked for.
            session: whose events and tracks these are.
            new_event_id: gives each event its id.
            detector: takes the pictures, unless ``spec.detect`` is ``off`` or ``motion``. It is not closed here.
        """
        raise NotImplementedError

    def frame(self, picture: Picture) -> Looked:
        """Look at the next picture."""
        raise NotImplementedError

    def label(self, moment: Moment, label: str, *, confidence: float | None) -> Sequence[Event]:
        """Take what the stream's head says of a sample; samples come in the order of time."""
        raise NotImplementedError

    async def end(self) -> Looked:
        """The session is over: what the detector still answers within a second, and what ends with it."""
        raise NotImplementedError
