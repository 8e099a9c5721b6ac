"""``label_changed``: a head says something else than before, and keeps to it."""

from dataclasses import dataclass

from pipeline.cameras.rules.happenings import Happening, Moment
from pipeline.records.events import EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a head says of a sample: its most probable label."""

    at: Moment
    label: str
    confidence: float | None


class LabelRule:
    """The labels of one head over one session, in the order of time."""

    def __init__(self, head: str) -> None:
        self._head = head
        self._label: str | None = None
        self._previous: Spoken | None = None

    def sample(self, spoken: Spoken) -> Happening | None:
        """Take what the head says of the next sample, and tell whether its label has changed.

        A label counts once two samples in a row have it, and the event is that of the first of them. The session's
        first label is no change.
        """
        first, self._previous = self._previous, spoken
        if first is None or first.label != spoken.label or spoken.label == self._label:
            return None
        old, self._label = self._label, spoken.label
        if old is None:
            return None
        return Happening(
            type=EventType.LABEL_CHANGED,
            at=first.at,
            label=first.label,
            confidence=first.confidence,
            name=self._head,
            value={"from": old},
        )
