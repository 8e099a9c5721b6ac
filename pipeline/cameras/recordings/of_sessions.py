"""Which recordings there are of each session, and what of a session each of them may hold."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.cameras.recordings.files import Recording, RecordingFiles
from pipeline.cameras.recordings.places import RecordingPlace, remembered
from pipeline.errors import StorageError, UsageError
from pipeline.lake.live import readers
from pipeline.records.streams import Session

_SLACK_S = 10.0
"""Names tell times to the millisecond, and those of a file that a dead writer left only about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRecordings:
    """The closed recordings of one stream, by session, each in the order of its files."""

    places: Sequence[RecordingPlace]
    by_session: Mapping[str, Sequence[Recording]]

    @classmethod
    def of(cls, lake: str, stream: str) -> "StreamRecordings":
        """List them, once what killed writers left is closed.

        Raises:
            UsageError: recordings cannot be read where the lake says that they are.
            StorageError: a store failed.
        """
        places = remembered(lake, stream=stream).get(stream, [])
        by_session: dict[str, list[Recording]] = {}
        for place in places:
            files = RecordingFiles(place.uri)
            with contextlib.suppress(StorageError):  # who may not write there reads what is closed
                files.finish_left_over(stream)
            for recording in files.closed(stream):
                by_session.setdefault(recording.name.session, []).append(recording)
        for recordings in by_session.values():
            recordings.sort(key=lambda each: (each.name.part, each.uri))
        return cls(places=places, by_session=by_session)

    def of_session(self, session: Session) -> Sequence[Recording]:
        """Those of a session."""
        return self.by_session.get(session.video_id, ())

    def expired_before(self, now: datetime) -> datetime | None:
        """When recordings must end to be there still; ``None``: some stay for good, or there never were any."""
        keeps = [place.keep for place in self.places]
        longest = max((keep for keep in keeps if keep is not None), default=None)
        return None if longest is None or None in keeps else now - longest


def time_range_s(recording: Recording, session: Session) -> tuple[float, float]:
    """Seconds from the session's first frame between which all frames of a recording lie."""
    start_s = (recording.name.started_at - session.started_at) / timedelta(seconds=1)
    return start_s - _SLACK_S, start_s + recording.name.duration_ms / 1000 + _SLACK_S


def streams_of(uri: str, stream: str | None) -> list[str]:
    """The streams that are meant.

    Raises:
        UsageError: there is no stream of this name.
    """
    names = readers.streams(uri)
    if stream is not None and stream not in names:
        raise UsageError(f"{uri} has no stream {stream}; it has {', '.join(names) or 'none'}")
    return names if stream is None else [stream]
