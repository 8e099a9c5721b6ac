"""What a run comes to, and when it got there."""

import time
from dataclasses import dataclass

from pipeline.derived import Totals


class Clockwork:
    """Seconds since the command began, at the moments worth telling."""

    def __init__(self) -> None:
        self.began = time.time()
        self.marks: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """Note that ``name`` is reached now."""
        self.marks[name] = round(time.time() - self.began, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run did, and what the dataset then holds."""

    out: str
    totals: Totals
    seconds: float
    num_samples: int
    video_s: float
    num_bytes: int
    marks_s: dict[str, float]
    """Seconds from the command to: the model is known, Ray is up, the plan is made, all is committed, the end."""
