"""What can be said of a stream while it runs: its state, and what has come of its pictures so far."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

from pipeline.records.documents import Document
from pipeline.records.streams import StreamSpec, StreamState
from pipeline.storage.addresses import canonical_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCounters:
    """How much has come in since the stream was started; none of these ever falls."""

    pictures: int = 0
    """Frames that were decoded."""
    samples: int = 0
    """Slots that have become rows, whether or not they are committed yet."""
    dropped: int = 0
    """Slots that were dropped because the model was busy."""
    gated: int = 0
    """Slots that did not reach the model because nothing moved."""
    gaps: int = 0
    """Slots that stand in the ledger for whatever reason, ``dropped`` and ``gated`` ones included."""
    sessions: int = 0
    """Connections that gave pictures."""
    reconnects: int = 0
    """Attempts to connect after the first one."""
    events: int = 0
    """Events of all types."""

    def after(self, before: "StreamCounters") -> "StreamCounters":
        """These and what was counted by a process before this one."""
        return StreamCounters(**{name: getattr(self, name) + getattr(before, name) for name in self.__slots__})


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """A stream at one moment."""

    spec: StreamSpec
    state: StreamState
    since: datetime
    """When it came into this state."""
    reason: str
    """Why it is in this state, in a few words."""
    session: str | None
    """The ``video_id`` of the session that plays, if one does."""
    counters: StreamCounters
    lag_s: float
    """From the arrival of the newest sample that has become a row until then."""
    last_error: str | None
    """What went wrong last, whether or not it has been got over. Never holds a credential."""

    @classmethod
    def starting(cls, spec: StreamSpec) -> Self:
        """That of a stream whose process is not there yet."""
        return cls(
            spec=spec,
            state=StreamState.CONNECTING,
            since=datetime.now(UTC),
            reason="its process starts",
            session=None,
            counters=StreamCounters(),
            lag_s=0.0,
            last_error=None,
        )

    def to_json(self) -> Document:
        """What ``GET /v1/streams`` tells of it."""
        spec = self.spec
        return {
            "name": spec.name,
            "state": self.state.value,
            "since": self.since.isoformat(),
            "reason": self.reason,
            "source": spec.source,
            "sample": f"fps:{spec.rate_hz}",
            "motion": spec.motion.value,
            "detect": canonical_uri(spec.detect) if "://" in spec.detect else spec.detect,
            "lines": [str(line) for line in spec.lines],
            "zones": [str(zone) for zone in spec.zones],
            "head": spec.head,
            "record": None if spec.record is None else canonical_uri(spec.record),
            "session": self.session,
            "counters": asdict(self.counters) | {"lag_s": round(self.lag_s, 3)},
            "last_error": self.last_error,
        }
