"""The way to the model: the camera never waits for it, answers come in order, and a failure costs one sample."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.cameras.hosting.model_queue import ModelQueue
from pipeline.errors import RunError


@dataclass(slots=True)
class Model:
    """Answers when it is told to, in any order."""

    asked: list[tuple[int, asyncio.Future[NDArray[np.float32]]]] = field(default_factory=list)

    async def __call__(self, picture: NDArray[np.uint8], /) -> NDArray[np.float32]:
        answer: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self.asked.append((int(picture[0, 0, 0]), answer))
        return await answer

    def answer(self, number: int) -> None:
        next(future for asked, future in self.asked if asked == number).set_result(np.full(2, number, np.float32))

    def fail(self, number: int, error: Exception) -> None:
        next(future for asked, future in self.asked if asked == number).set_exception(error)


@dataclass(slots=True)
class Listener:
    features: list[tuple[int, float]] = field(default_factory=list)
    dropped: list[tuple[int, str | None]] = field(default_factory=list)

    def queue(self, model: Model, *, capacity: int) -> ModelQueue[int]:
        return ModelQueue(
            model,
            capacity=capacity,
            on_feature=lambda number, feature: self.features.append((number, float(feature[0]))),
            on_dropped=lambda number, problem: self.dropped.append((number, problem)),
        )


def put(queue: ModelQueue[int], numbers: range) -> None:
    for number in numbers:
        queue.put(number, np.full((1, 1, 3), number, np.uint8))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_answers_are_told_in_the_order_of_the_samples() -> None:
    async def run() -> list[tuple[int, float]]:
        model, listener = Model(), Listener()
        put(listener.queue(model, capacity=8), range(3))
        await settled()
        for number in (2, 0, 1):
            model.answer(number)
            await settled()
        return listener.features

    assert asyncio.run(run()) == [(0, 0.0), (1, 1.0), (2, 2.0)]


def test_while_the_model_is_busy_the_newest_samples_win() -> None:
    async def run() -> Listener:
        model, listener = Model(), Listener()
        queue = listener.queue(model, capacity=3)
        put(queue, range(10))
        await settled()
        while len(listener.features) + len(listener.dropped) < 10:
            for number, future in list(model.asked):
                if not future.done():
                    model.answer(number)
            await settled()
        return listener

    listener = asyncio.run(run())

    assert listener.dropped == [(4, None), (5, None), (6, None)]
    assert [number for number, _ in listener.features] == [0, 1, 2, 3, 7, 8, 9]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(RunError("no replica answers"), "the model gave no answer: no replica answers", id="ours"),
        pytest.param(OSError("a\nlong\ntraceback"), "the model gave no answer: OSError", id="another"),
    ],
)
def test_a_model_that_fails_costs_its_sample_alone(error: Exception, told: str) -> None:
    async def run() -> Listener:
        model, listener = Model(), Listener()
        put(listener.queue(model, capacity=8), range(3))
        await settled()
        model.fail(1, error)
        model.answer(0)
        model.answer(2)
        await settled()
        return listener

    listener = asyncio.run(run())

    assert listener.dropped == [(1, told)]
    assert [number for number, _ in listener.features] == [0, 2]


def test_after_its_close_nothing_is_told() -> None:
    async def run() -> Listener:
        model, listener = Model(), Listener()
        queue = listener.queue(model, capacity=8)
        put(queue, range(6))
        await settled()
        queue.close()
        await settled()
        return listener

    assert asyncio.run(run()) == Listener()
