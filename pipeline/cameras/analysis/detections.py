"""Pictures wait here for the detector, in order and not many: newest wins, and nobody waits for them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cameras.analysis.detector import DetectionFailed, Detector, Pixels
from pipeline.cameras.rules.happenings import Moment
from pipeline.records.geometry import Detection

_AT_ONCE = 3
"""Pictures that a detector is asked about at the same time: a server is some way off, and a network takes batches."""

_MOST_WAITING = 16
_MOST_WAITING_BYTES = 64 << 20
"""Of pictures that wait: a hiccup of a second costs none, and of large ones there are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """What a detector has found in a picture."""

    at: Moment
    detections: Sequence[Detection]


class DetectionQueue:
    """Of one session. To be used in one event loop."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._waiting: deque[tuple[Moment, Pixels]] = deque()
        self._asked: deque[asyncio.Task[Detected | None]] = deque()
        """In the order of the pictures; ``None``: there is no answer."""
        self._is_closed = False
        self.problem: str | None = None
        """Why the latest picture that was looked at has no answer; ``None`` when it has."""

    def offer(self, at: Moment, picture: Pixels) -> None:
        """Have the detector look at a picture when it comes to it."""
        most = max(1, min(_MOST_WAITING, _MOST_WAITING_BYTES // max(1, picture.nbytes)))
        while len(self._waiting) >= most:
            self._waiting.popleft()
        self._waiting.append((at, picture))
        self._ask()

    def take(self) -> list[Detected]:
        """What has been found since the last call, in the order of the pictures.

        What went wrong in the detector, other than a picture without an answer, is raised.
        """
        found = []
        while self._asked and self._asked[0].done():
            answer = self._asked.popleft().result()
            if answer is not None:
                found.append(answer)
        return found

    async def close(self, *, within_s: float) -> list[Detected]:
        """Let the detector finish what waits, for a while, and take what it has found."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + within_s
        while (running := self._running()) and (left_s := end_s - loop.time()) > 0:
            await asyncio.wait(running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        self._is_closed = True
        self._waiting.clear()
        found, running = self.take(), self._running()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=within_s)
        return found

    def _running(self) -> list[asyncio.Task[Detected | None]]:
        return [task for task in self._asked if not task.done()]

    def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and len(self._running()) < _AT_ONCE:
            task = loop.create_task(self._look(*self._waiting.popleft()))
            task.add_done_callback(_note)
            self._asked.append(task)

    async def _look(self, at: Moment, picture: Pixels) -> Detected | None:
        try:
            detections = await self._detector.detect(picture)
        except DetectionFailed as error:
            self.problem = str(error)
            return None
        else:
            self.problem = None
            return Detected(at=at, detections=detections)
        finally:
            if not self._is_closed:
                # This task still counts as running: the next picture is asked about once it has ended.
                asyncio.get_running_loop().call_soon(self._ask)


def _note(task: asyncio.Task[Detected | None]) -> None:
    """Take note of an exception: ``take`` raises the first one, and asyncio would log the others."""
    if not task.cancelled():
        task.exception()
