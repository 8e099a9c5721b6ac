"""Pictures wait here for the detector, in order and not many: newest wins, and nobody waits for them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cameras.analysis.detector import DetectionFailed, Detector, Pixels
from pipeline.cameras.rules.happenings import Moment
from pipeline.records.geometry import Detection

_MOST_WAITING = 4
"""Full pictures are large: further ones push out the one that has waited longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What a detector has found in a picture."""

    at: Moment
    detections: Sequence[Detection]


class DetectionQueue:
    """Of one session. To be used in one event loop."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._waiting: deque[tuple[Moment, Pixels]] = deque(maxlen=_MOST_WAITING)
        self._found: list[Detected] = []
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None
        """Why the latest picture that was looked at has no answer; ``None`` when it has."""

    def offer(self, at: Moment, picture: Pixels) -> None:
        """Have the detector look at a picture when it comes to it."""
        self._waiting.append((at, picture))
        if self._task is None or self._is_done(self._task):
            self._task = asyncio.get_running_loop().create_task(self._work())

    def take(self) -> list[Detected]:
        """What has been found since the last call, in the order of the pictures."""
        found, self._found = self._found, []
        return found

    async def close(self, *, within_s: float) -> list[Detected]:
        """Let the detector finish what waits, for a while, and take what it has found."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s)
            self._task.cancel()
            await asyncio.wait([self._task], timeout=within_s)
        self._waiting.clear()
        return self.take()

    @staticmethod
    def _is_done(task: asyncio.Task[None]) -> bool:
        """Whether it has come to its end. What went wrong in it, other than a picture without an answer, is raised."""
        if not task.done():
            return False
        task.result()
        return True

    async def _work(self) -> None:
        while self._waiting:
            at, picture = self._waiting.popleft()
            try:
                detections = await self._detector.detect(picture)
            except DetectionFailed as error:
                self.problem = str(error)
                continue
            self.problem = None
            self._found.append(Detected(at=at, detections=detections))
