"""A rule applied to what a lake holds: how often would it have fired last month. Nothing is written."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.cameras.rules.happenings import Happening
from pipeline.cameras.rules.head_answers import require_for_streams
from pipeline.cameras.rules.past_labels import COLUMNS, label_changes
from pipeline.cameras.rules.track_rules import StoredTracks
from pipeline.errors import UsageError
from pipeline.lake.dataset import Dataset
from pipeline.lake.live import readers
from pipeline.lake.live.batches import StoredSession
from pipeline.lake.publishing.backends import backend_at
from pipeline.models.heads.registry import HeadAddress, Heads
from pipeline.records.event_ids import EventIds
from pipeline.records.events import Event
from pipeline.records.geometry import Line, Zone
from pipeline.records.periods import Period

_MAY_GO_ON = timedelta(seconds=60)
"""An object of a live session that was seen so lately may still be in view: commits come some seconds late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a lake's past."""

    lines: tuple[Line, ...] = ()
    zones: tuple[Zone, ...] = ()
    head: HeadAddress | None = None
    stream: str | None = None
    """``None``: all streams."""
    period: Period = field(default_factory=Period)

    @property
    def has_rules(self) -> bool:
        """Whether there is a rule to apply; otherwise the question is what has happened."""
        return bool(self.lines or self.zones or self.head)


def past_events(uri: str, question: Question) -> Iterator[Event]:
    """What the rules would have told, or without rules what was told, in the order of time.

    Raises:
        UsageError: there is no lake, the head does not fit it, or no stream of this name has written into it.
        StorageError: the store failed.
    """
    stored = readers.sessions(uri, question.stream)
    if question.stream is not None and not stored:
        raise UsageError(f"{uri}: no stream {question.stream!r} has written into it")
    if not question.has_rules:
        yield from (event for event in readers.events(uri, question.stream) if _is_within(question, event.captured_at))
        return
    sessions = {each.session.video_id: each for each in stored if _touches(question, each)}
    found = [*_of_tracks(uri, question, sessions), *_of_features(uri, question, sessions)]
    events = [_event(sessions[video_id], happening) for video_id, happening in found]
    events.sort(key=lambda event: event.event_id)
    yield from (event for event in events if _is_within(question, event.captured_at))


def _of_tracks(uri: str, question: Question, sessions: dict[str, StoredSession]) -> Iterator[tuple[str, Happening]]:
    if not (question.lines or question.zones):
        return
    tracks: dict[str, StoredTracks] = {}
    for point in readers.tracks(uri, question.stream):
        if point.video_id in sessions:
            if point.video_id not in tracks:
                tracks[point.video_id] = StoredTracks(lines=question.lines, zones=question.zones)
            yield from ((point.video_id, happening) for happening in tracks[point.video_id].point(point))
    now = datetime.now(UTC)
    for video_id, session_tracks in tracks.items():
        open_since = now - _MAY_GO_ON if sessions[video_id].status == "live" else None
        yield from ((video_id, happening) for happening in session_tracks.end(open_since=open_since))


def _of_features(uri: str, question: Question, sessions: dict[str, StoredSession]) -> Iterator[tuple[str, Happening]]:
    if question.head is None:
        return
    loaded = Heads(backend_at(question.head.heads).store).load(question.head.name, question.head.version)
    require_for_streams(loaded.head, name=str(question.head), info=Dataset.at(uri).existing())
    for video_id, happening in label_changes(loaded.head, loaded.name, readers.rows(uri, columns=COLUMNS)):
        if video_id in sessions:
            yield video_id, happening


def _event(stored: StoredSession, happening: Happening) -> Event:
    session = stored.session
    return happening.event(
        event_id=_event_id(session.stream, session.video_id, happening),
        video_id=session.video_id,
        uri=session.uri,
        stream=session.stream,
    )


def _event_id(stream: str, video_id: str, happening: Happening) -> str:
    """Like those of stored events, and none of theirs; the same question gets the same ids again."""
    what = (video_id, happening.type, happening.name, happening.track, happening.at.pts)
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
    return f"{EventIds(stream).next(happening.at.captured_at)}~{digest}"


def _touches(question: Question, stored: StoredSession) -> bool:
    period = question.period
    return stored.captured_to.timestamp() >= period.begin_s and stored.captured_from.timestamp() < period.end_s


def _is_within(question: Question, moment: datetime) -> bool:
    return question.period.begin_s <= moment.timestamp() < question.period.end_s
