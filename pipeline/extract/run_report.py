"""What the report of a run says, whether it counted as it went or ended before it could."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from pipeline.extract.tally import StageReports, counts_of
from pipeline.records.resources import Hardware

_MOST_POINTS = 500

State = Literal["running", "finished", "failed", "interrupted"]
"""A report that says ``running`` and is old is that of a run that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """How many samples had come out of each stage so many seconds after the command began."""

    at_s: float
    decode: int
    embed: int
    commit: int


class Timeline:
    """How far a run had come as it went, in a few hundred points however long it takes."""

    def __init__(self, *, most: int = _MOST_POINTS) -> None:
        self._most = most
        self._points: list[Point] = []

    def add(self, point: Point) -> None:
        """Note where the run is now."""
        if len(self._points) >= self._most:
            del self._points[1::2]
        self._points.append(point)

    @property
    def points(self) -> tuple[Point, ...]:
        """What was noted, thinned out evenly where there was too much."""
        return tuple(self._points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one run did until ``written``."""

    command: str
    state: State
    error: str | None
    began: datetime
    written: datetime
    marks_s: dict[str, float]
    hardware: Hardware | None
    """``None``: it ended before it was known."""
    num_actors: int
    """Of the model."""
    stages: StageReports
    timeline: tuple[Point, ...]

    def to_json(self) -> dict[str, object]:
        """The document as it lies in the dataset."""
        times = {"began": self.began.isoformat(), "written": self.written.isoformat()}
        stages = {name: stage.to_json() for name, stage in self.stages.items()}
        return {
            "command": self.command,
            "state": self.state,
            "error": self.error,
            **times,
            "marks_s": self.marks_s,
            "hardware": None if self.hardware is None else asdict(self.hardware),
            "num_actors": self.num_actors,
            "decoded_frames": counts_of(self.stages, "decode").decoded_frames,
            "stages": stages,
            "timeline": [asdict(point) for point in self.timeline],
        }
