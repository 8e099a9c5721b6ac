"""All cores for one batch, or half of them for each of two: the same features, at the same time."""

import asyncio
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.models.embedder import Embedder
from pipeline.models.registry import load_model
from serve.inference.lanes import Lanes


def small(num_threads: int) -> Embedder:
    return Embedder(load_model("video_cnn", weights="random:0"), batch_size=4, device="cpu", num_threads=num_threads)


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    lanes = Lanes(partial(small, 2))
    yield lanes
    lanes.close()


def scenes(num_pictures: int, *, seed: int = 0) -> NDArray[np.uint8]:
    height_px, width_px = load_model("video_cnn", weights="random:0").info.preprocessing.crop_px
    return np.random.default_rng(seed).integers(0, 256, (num_pictures, height_px, width_px, 3), dtype=np.uint8)


@pytest.mark.slow
def test_batches_side_by_side_have_the_features_that_they_have_alone(lanes: Lanes) -> None:
    batches = [scenes(4, seed=seed) for seed in range(6)]

    async def main() -> None:
        alone = [await lanes.embed([batch], 2) for batch in batches]
        for at in range(0, 6, 2):
            beside = await asyncio.gather(*(lanes.embed([batch], 1) for batch in batches[at : at + 2]))
            np.testing.assert_allclose(beside, alone[at : at + 2], atol=1e-5)

    asyncio.run(main())


def test_each_share_keeps_its_own_number_of_threads(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    embed = Embedder.embed

    def watched(self: Embedder, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        seen.append(torch.get_num_threads())
        return embed(self, pictures)

    monkeypatch.setattr(Embedder, "embed", watched)

    async def main() -> None:
        for num_lanes in (2, 1, 2, 1):
            await lanes.embed([scenes(1)], num_lanes)

    asyncio.run(main())
    assert seen == [2, 1, 2, 1]


def test_single_core_is_not_divided() -> None:
    lanes = Lanes(partial(small, 1))
    assert lanes.num_lanes == 1
    assert asyncio.run(lanes.embed([scenes(3)], 1)).shape[0] == 3
    lanes.close()
