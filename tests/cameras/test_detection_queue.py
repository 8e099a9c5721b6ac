"""Pictures that wait for a detector: in order, not many, and nobody waits for them."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from truth_clips import moment

from pipeline.cameras.analysis.detections import DetectionQueue
from pipeline.cameras.analysis.detector import DetectionFailed, Pixels
from pipeline.records.geometry import Box, Detection


def picture(number: int, *, num_bytes: int = 3) -> Pixels:
    return np.full((1, 1, num_bytes), number, np.uint8)


class Slow:
    """A detector whose answers come when they are let go; each says which picture it is of."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answers: dict[int, asyncio.Event] = {}

    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        number = int(picture[0, 0, 0])
        self.asked.append(number)
        self.answers[number] = asyncio.Event()
        await self.answers[number].wait()
        if number == 100:
            raise DetectionFailed("too late")
        if number == 101:
            raise ZeroDivisionError
        return [Detection(box=Box(left=0, top=0, width=1, height=1), label=str(number), confidence=None)]

    async def close(self) -> None:
        pass


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def labels(queue: DetectionQueue) -> list[str | None]:
    return [detected.detections[0].label for detected in queue.take()]


def test_answers_come_in_the_order_of_the_pictures() -> None:
    async def session() -> None:
        detector = Slow()
        queue = DetectionQueue(detector)
        for number in range(5):
            queue.offer(moment(number), picture(number))
        await settle()
        assert detector.asked == [0, 1, 2]
        detector.answers[2].set()
        detector.answers[1].set()
        await settle()
        assert labels(queue) == []
        assert detector.asked == [0, 1, 2, 3, 4]
        detector.answers[0].set()
        await settle()
        assert labels(queue) == ["0", "1", "2"]
        await queue.close(within_s=0)

    asyncio.run(session())


@pytest.mark.parametrize(
    ("num_bytes", "num_left"), [pytest.param(3, 16, id="small"), pytest.param(30 << 20, 2, id="large")]
)
def test_the_newest_pictures_wait_and_only_few(num_bytes: int, num_left: int) -> None:
    async def session() -> None:
        detector = Slow()
        queue = DetectionQueue(detector)
        for number in range(40):
            queue.offer(moment(number), np.broadcast_to(picture(number, num_bytes=1), (1, 1, num_bytes)))
            await settle()
        for number in (0, 1, 2):
            detector.answers[number].set()
        while len(detector.asked) < 3 + num_left:
            await settle()
            for number in detector.asked:
                detector.answers[number].set()
        assert detector.asked == [0, 1, 2, *range(40 - num_left, 40)]
        await queue.close(within_s=1)

    asyncio.run(session())


def test_a_picture_without_an_answer_is_no_picture_without_objects() -> None:
    async def session() -> None:
        detector = Slow()
        queue = DetectionQueue(detector)
        queue.offer(moment(0), picture(100))
        await settle()
        detector.answers[100].set()
        await settle()
        assert (queue.take(), queue.problem) == ([], "too late")
        queue.offer(moment(1), picture(1))
        await settle()
        detector.answers[1].set()
        await settle()
        assert (labels(queue), queue.problem) == (["1"], None)

    asyncio.run(session())


def test_what_goes_wrong_in_a_detector_is_raised() -> None:
    async def session() -> None:
        detector = Slow()
        queue = DetectionQueue(detector)
        queue.offer(moment(0), picture(101))
        await settle()
        detector.answers[101].set()
        await settle()
        with pytest.raises(ZeroDivisionError):
            queue.take()

    asyncio.run(session())


def test_the_end_waits_for_answers_that_come_soon_and_for_no_others() -> None:
    async def session() -> None:
        detector = Slow()
        queue = DetectionQueue(detector)
        for number in range(6):
            queue.offer(moment(number), picture(number))
        loop = asyncio.get_running_loop()
        await settle()
        for number in (0, 1):
            loop.call_later(0.01, detector.answers[number].set)
        began = loop.time()
        found = await queue.close(within_s=1)

        assert [each.at.time_s for each in found] == [0, 1]
        assert loop.time() - began < 30
        assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    asyncio.run(session())
