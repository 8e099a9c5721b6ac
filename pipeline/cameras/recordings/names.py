"""Names of recordings: they tell the stream, the session, and from when to when."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from pipeline.records.streams import check_stream_name

_NAME = re.compile(r"(\d{8}T\d{6})(\d{3})Z-(\d+)ms-([0-9a-f]{20})-(\d{5,})\.mp4", re.ASCII)
_TIME = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingName:
    """``STREAM/20261126T061230123Z-300200ms-SESSION-00003.mp4``: sorts by time within a stream."""

    stream: str
    session: str
    """The ``video_id`` of the session."""
    part: int
    """Which file of its session it is, from 0: two that follow each other have no frame between them."""
    started_at: datetime
    """The wall clock of its first frame, UTC, in whole milliseconds."""
    duration_ms: int

    @property
    def ended_at(self) -> datetime:
        """The wall clock of its end, UTC."""
        return self.started_at + timedelta(milliseconds=self.duration_ms)

    def __str__(self) -> str:
        time = f"{self.started_at:{_TIME}}{self.started_at.microsecond // 1000:03}Z"
        return f"{self.stream}/{time}-{self.duration_ms}ms-{self.session}-{self.part:05}.mp4"

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Read the name of a recording, relative to where recordings are kept; ``None``: it is another file's."""
        stream, _, file = name.partition("/")
        match = _NAME.fullmatch(file)
        if match is None:
            return None
        check_stream_name(stream)
        time = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC) + timedelta(milliseconds=int(match[2]))
        return cls(stream=stream, session=match[4], part=int(match[5]), started_at=time, duration_ms=int(match[3]))
