"""``--detect NAME``: a detector of this machine. Streams share it, and pictures that wait are looked at together."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from typing_extensions import override

from pipeline.cameras.analysis.detector import DetectionFailed, Detector, Pixels
from pipeline.records.geometry import Detection

DetectTogether = Callable[[Sequence[Pixels]], Sequence[Sequence[Detection]]]
"""Finds the objects in each of several pictures; it may take its time."""

_MOST_TOGETHER = 8


class NetworkDetector(Detector):
    """Hands pictures of any number of streams to a network, in a thread of its own. To be used in one event loop."""

    def __init__(self, detect: DetectTogether, *, most_together: int = _MOST_TOGETHER) -> None:
        """Get ready.

        Args:
            detect: the network. It is never called twice at once.
            most_together: pictures in a batch; what comes while the network is busy makes up the next one.
        """
        self._detect = detect
        self._most_together = most_together
        self._waiting: deque[tuple[Pixels, asyncio.Future[Sequence[Detection]]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    @override
    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        if self._is_closed:
            raise DetectionFailed("the detector is closed")
        answer: asyncio.Future[Sequence[Detection]] = asyncio.get_running_loop().create_future()
        self._waiting.append((picture, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        return await answer

    @override
    async def close(self) -> None:
        self._is_closed = True
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(DetectionFailed("the detector is closed"))
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._most_together))]
            batch = [(picture, answer) for picture, answer in batch if not answer.done()]  # others have given up
            if not batch:
                continue
            found = await asyncio.gather(
                asyncio.to_thread(self._detect, [picture for picture, _ in batch]), return_exceptions=True
            )
            for number, (_, answer) in enumerate(batch):
                if answer.done():
                    continue
                if isinstance(found[0], BaseException):
                    answer.set_exception(found[0])
                else:
                    answer.set_result(found[0][number])
