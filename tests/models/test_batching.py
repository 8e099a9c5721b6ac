"""A busy model's next batch takes what waits; an idle one starts at once; nobody starves."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.batching import Batcher, fair_shares


class Model:
    """Features that say whose picture they are of; it is busy with what it has while the gate is closed."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.lanes: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, parts: Sequence[NDArray[np.uint8]], num_lanes: int) -> NDArray[np.float32]:
        self.batches.append(sum(map(len, parts)))
        self.lanes.append(num_lanes)
        assert self.gate.wait(10)
        return np.concatenate(parts).reshape(-1, 1).astype(np.float32)


def pictures(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("wanted", "room", "shares"),
    [
        pytest.param([1, 1, 1], 8, [1, 1, 1], id="all-fit"),
        pytest.param([100], 8, [8], id="one-alone-has-it-all"),
        pytest.param([100, 1, 1], 8, [6, 1, 1], id="a-long-one-gets-what-the-short-ones-leave"),
        pytest.param([100, 100], 8, [4, 4], id="two-long-ones-halve-it"),
        pytest.param([1, 1, 1, 1, 1], 3, [1, 1, 1, 0, 0], id="first-come-first-served"),
        pytest.param([], 8, [], id="nobody"),
    ],
)
def test_shares_are_fair(wanted: list[int], room: int, shares: list[int]) -> None:
    assert fair_shares(wanted, room=room) == shares


def run(scenario, *, num_lanes: int = 1, model: Model | None = None) -> Model:  # type: ignore[no-untyped-def]
    model = model or Model()

    async def main() -> None:
        async def embed(parts: Sequence[NDArray[np.uint8]], num_lanes: int) -> NDArray[np.float32]:
            return await asyncio.to_thread(model.embed, parts, num_lanes)

        await scenario(model, Batcher(embed, batch_size=8, num_lanes=num_lanes))

    asyncio.run(main())
    return model


async def busy(model: Model, batcher: Batcher) -> "asyncio.Task[NDArray[np.float32]]":
    model.gate.clear()
    first = asyncio.create_task(batcher.embed(pictures(0)))
    while not model.batches:
        await asyncio.sleep(0.001)
    return first


def test_idle_model_starts_at_once() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        assert (await batcher.embed(pictures(7))).tolist() == [[7]]
        assert (await batcher.embed(pictures(8, 9))).tolist() == [[8], [9]]

    assert run(scenario).batches == [1, 2]


def test_busy_models_next_batch_takes_all_that_wait() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        first = await busy(model, batcher)
        waiting = [asyncio.create_task(batcher.embed(pictures(at))) for at in range(1, 6)]
        await asyncio.sleep(0)
        assert batcher.num_waiting == 5
        model.gate.set()
        assert [float((await each)[0, 0]) for each in (first, *waiting)] == [0, 1, 2, 3, 4, 5]

    assert run(scenario).batches == [1, 5]


def test_long_video_does_not_starve_a_still() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        first = await busy(model, batcher)
        video = asyncio.create_task(batcher.embed(pictures(*range(50))))
        still = asyncio.create_task(batcher.embed(pictures(99)))
        await asyncio.sleep(0)
        model.gate.set()
        assert (await still).tolist() == [[99]]
        assert not video.done()
        assert (await video)[:, 0].tolist() == list(range(50))
        await first

    assert run(scenario).batches[:2] == [1, 8]


def test_who_gives_up_takes_no_room() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        first = await busy(model, batcher)
        gone = asyncio.create_task(batcher.embed(pictures(1)))
        stays = asyncio.create_task(batcher.embed(pictures(2)))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.gate.set()
        assert (await stays).tolist() == [[2]]
        await first

    assert run(scenario).batches == [1, 1]


def test_failure_reaches_those_in_the_batch_alone() -> None:
    class Failing(Model):
        def embed(self, parts: Sequence[NDArray[np.uint8]], num_lanes: int) -> NDArray[np.float32]:
            features = super().embed(parts, num_lanes)
            if 13 in features:
                raise ValueError("unlucky")
            return features

    async def scenario(model: Model, batcher: Batcher) -> None:
        with pytest.raises(ValueError, match="unlucky"):
            await batcher.embed(pictures(13))
        assert (await batcher.embed(pictures(14))).tolist() == [[14]]

    run(scenario, model=Failing())


def test_picture_that_comes_alone_has_all_lanes() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        for value in (1, 2):
            await batcher.embed(pictures(value))

    assert run(scenario, num_lanes=4).lanes == [4, 4]


def test_picture_leaves_lanes_to_those_that_are_coming() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        with batcher.coming():
            await batcher.embed(pictures(1))

    assert run(scenario, num_lanes=4).lanes == [2]


@pytest.mark.parametrize(
    ("num_pictures", "batches", "lanes"),
    [
        pytest.param(2, [1, 1], [2, 2], id="fewer-pictures-than-lanes"),
        pytest.param(3, [1, 1, 1], [1, 1, 2], id="not-to-be-shared-out-equally"),
        pytest.param(12, [3, 3, 3, 3], [1, 1, 1, 1], id="more"),
        pytest.param(40, [8, 8, 8, 8], [1, 1, 1, 1], id="more-than-all-lanes-take-at-once"),
    ],
)
def test_pictures_that_come_together_share_the_lanes(num_pictures: int, batches: list[int], lanes: list[int]) -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        model.gate.clear()
        callers = [asyncio.create_task(batcher.embed(pictures(at))) for at in range(num_pictures)]
        while len(model.lanes) < len(lanes):
            await asyncio.sleep(0.001)
        assert (sorted(model.batches), sorted(model.lanes)) == (batches, lanes)
        model.gate.set()
        assert [float((await each)[0, 0]) for each in callers] == list(range(num_pictures))

    run(scenario, num_lanes=4)


class SlowWithFirst(Model):
    """The batch that picture 0 is in lasts until picture 9 is done."""

    def __init__(self) -> None:
        super().__init__()
        self.is_last_done = threading.Event()

    def embed(self, parts: Sequence[NDArray[np.uint8]], num_lanes: int) -> NDArray[np.float32]:
        features = super().embed(parts, num_lanes)
        if 9 in features:
            self.is_last_done.set()
        elif 0 in features:
            assert self.is_last_done.wait(10)
        return features


def test_lane_that_is_free_takes_what_comes_while_another_is_busy() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        slow, quick = (asyncio.create_task(batcher.embed(pictures(value))) for value in (0, 1))
        await quick
        assert (await batcher.embed(pictures(9))).tolist() == [[9]]
        assert (await slow).tolist() == [[0]]

    assert run(scenario, num_lanes=2, model=SlowWithFirst()).lanes == [1, 1, 1]


def test_features_are_in_order_whichever_batch_ends_first() -> None:
    async def scenario(model: Model, batcher: Batcher) -> None:
        assert (await batcher.embed(pictures(*range(10))))[:, 0].tolist() == list(range(10))

    assert run(scenario, num_lanes=2, model=SlowWithFirst()).batches == [5, 5]
