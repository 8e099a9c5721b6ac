"""From a source in the input to a row of the plan, and back to what identifies a video."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import pyarrow as pa

from pipeline.records.schemas import PLAN, SOURCES
from pipeline.records.segments import WHOLE_VIDEO, Quarantined, TimeRange
from pipeline.records.tables import VIDEOS
from pipeline.records.videos import ListedVideo
from pipeline.storage.addresses import has_secret, name_of
from pipeline.storage.reader import Identity, video_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A video as it was named, and its identity now.

    ``uri`` is canonical and safe to store; ``locator`` opens it and may hold a signature. ``failure`` is the reason
    code and detail of a video that is not there; its identity is empty. ``columns`` are its manifest's further ones.
    """

    uri: str
    locator: str
    identity: Identity
    start_s: Fraction | None
    end_s: Fraction | None
    failure: tuple[str, str] | None
    columns: dict[str, object]


class Sources(Protocol):
    """What a run goes through: an input, or those of its sources that somebody chose. Iterate as often as needed."""

    @property
    def fields(self) -> list[pa.Field]:
        """The manifests' further columns, with their types."""

    def __iter__(self) -> Iterator[Source]:
        """The sources, each once."""


_ONCE_OURS = frozenset({"attempt"})
"""A file of the plan with such a column is one of an earlier version (``lake/earlier_versions.py``)."""

RESERVED_COLUMNS = (frozenset(VIDEOS.schema.names) | frozenset(PLAN.names) | frozenset(SOURCES.names) | _ONCE_OURS) - {
    "start_s",
    "end_s",
}
"""What a manifest's further columns may not be called."""


def id_of(source: Source) -> str:
    """The id of the video that a source names. A range of a video has its own, so that clips of one file differ."""
    name = name_of(source.locator)
    if source.start_s is None and source.end_s is None:
        return video_id(name, source.identity)
    start, end = ("" if at is None else str(at) for at in (source.start_s, source.end_s))
    return video_id(f"{name}#t={start},{end}", source.identity)


def listed_video(source: Source, *, attempts: int, known_id: str | None = None) -> ListedVideo:
    """The video that a source names, with its id unless that is known; with a ``failure`` where it is absent."""
    failure = None
    if source.failure is not None:
        reason, detail = source.failure
        failure = Quarantined(segment=None, missing_start_s=None, missing_end_s=None, reason=reason, detail=detail)
    is_whole = source.start_s is None and source.end_s is None
    return ListedVideo(
        video_id=known_id or id_of(source),
        uri=source.uri,
        locator=source.locator,
        size_bytes=source.identity.size_bytes,
        etag=source.identity.etag,
        mtime_ns=source.identity.mtime_ns,
        time_range=WHOLE_VIDEO if is_whole else TimeRange(start=source.start_s, end=source.end_s),
        attempts=attempts,
        further=source.columns,
        is_signed=has_secret(source.locator),
        failure=failure,
    )


def identity_of(video: ListedVideo) -> Identity:
    """What the object of a video was when it was listed."""
    return Identity(size_bytes=video.size_bytes, etag=video.etag, mtime_ns=video.mtime_ns)
