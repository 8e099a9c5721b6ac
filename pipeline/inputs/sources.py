"""From a source in the input to a row of the plan, and back to what identifies a video."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from pipeline.records.schemas import PLAN, SOURCES, VIDEOS
from pipeline.storage.reader import Identity, video_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A video as it was named, and who it is now.

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


_ONCE_OURS = frozenset({"attempt"})
"""A file of the plan with such a column is one of an earlier version (``lake/earlier_versions.py``)."""

RESERVED_COLUMNS = (frozenset(VIDEOS.names) | frozenset(PLAN.names) | frozenset(SOURCES.names) | _ONCE_OURS) - {
    "start_s",
    "end_s",
}
"""What a manifest's further columns may not be called."""


def source_row(source: Source, *, attempts: int) -> dict[str, Any]:
    """A row of ``SOURCES`` with the manifest's further columns, and ``reason`` and ``detail`` where it is absent."""
    start, end = (None if at is None else str(at) for at in (source.start_s, source.end_s))
    # A range of a video is a video of its own: two clips of one file must not share an id.
    named = source.uri if start is None and end is None else f"{source.uri}#t={start or ''},{end or ''}"
    reason, detail = source.failure or (None, None)
    return {
        **source.columns,
        "video_id": video_id(named, source.identity),
        "uri": source.uri,
        "locator": source.locator,
        "size_bytes": source.identity.size_bytes,
        "etag": source.identity.etag,
        "mtime_ns": source.identity.mtime_ns,
        "range_start": start,
        "range_end": end,
        "attempts": attempts,
        "reason": reason,
        "detail": detail,
    }


def identity_of(row: dict[str, Any]) -> Identity:
    """What the object of a ``SOURCES`` or ``TASKS`` row was when it was listed."""
    return Identity(size_bytes=row["size_bytes"], etag=row["etag"], mtime_ns=row["mtime_ns"])
