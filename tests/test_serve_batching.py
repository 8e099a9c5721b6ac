"""A busy model's next batch takes what waits; an idle one starts at once; nobody starves."""

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from serve.batching import Batcher, fair_shares


class Model:
    """Features that say whose picture they are of; ``hold`` keeps it busy with what it has."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(sum(map(len, parts)))
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


def run(scenario, *, batch_size: int = 8) -> Model:  # type: ignore[no-untyped-def]
    model = Model()

    async def main() -> None:
        with ThreadPoolExecutor(1) as executor:
            await scenario(model, Batcher(model.embed, batch_size=batch_size, executor=executor))

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
        def embed(self, parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            found = super().embed(parts)
            if 13 in found:
                raise ValueError("unlucky")
            return found

    async def main() -> None:
        model = Failing()
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(model.embed, batch_size=8, executor=executor)
            with pytest.raises(ValueError, match="unlucky"):
                await batcher.embed(pictures(13))
            assert (await batcher.embed(pictures(14))).tolist() == [[14]]

    asyncio.run(main())
