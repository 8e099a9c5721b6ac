"""A pool computes several batches at once, and what it gives does not show it."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.models.embedder import Embedder
from pipeline.models.embedder_pool import EmbedderPool
from pipeline.models.network import LoadedModel
from pipeline.models.registry import load_model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("video_cnn", weights="random:0")


def noise(count: int, *, model: LoadedModel, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, *model.info.preprocessing.input_shape)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
@pytest.mark.parametrize("lengths", [(), (0,), (1,), (4, 4), (3, 6, 2), (17,)])
@pytest.mark.quick_one_in(5)
def test_features_are_the_embedders_own_in_its_order(
    model: LoadedModel, lengths: tuple[int, ...], num_workers: int
) -> None:
    embedder = Embedder(model, batch_size=4, device="cpu", num_threads=1)
    segments = [noise(length, model=model, seed=at) for at, length in enumerate(lengths)]
    features = EmbedderPool(embedder, num_workers=num_workers).embed(segments)
    np.testing.assert_array_equal(features, embedder.embed(segments))


def test_calls_at_once_get_each_their_own(model: LoadedModel) -> None:
    embedder = Embedder(model, batch_size=2, device="cpu", num_threads=1)
    pool = EmbedderPool(embedder, num_workers=2)
    calls = [[noise(5, model=model, seed=seed)] for seed in range(8)]
    with ThreadPoolExecutor(4) as callers:
        for call, features in zip(calls, callers.map(pool.embed, calls), strict=True):
            np.testing.assert_array_equal(features, embedder.embed(call))


class Meeting(nn.Module):
    """A backbone that waits until so many batches are at work, and gives the number of torch's threads."""

    def __init__(self, num_batches: int, *, dim: int) -> None:
        super().__init__()
        self._barrier = threading.Barrier(num_batches, timeout=20)
        self._dim = dim

    def forward(self, pictures: Tensor) -> Tensor:
        self._barrier.wait()
        return torch.full((len(pictures), self._dim), float(torch.get_num_threads()))


def test_as_many_batches_as_workers_are_at_work_each_with_threads_of_its_own(model: LoadedModel) -> None:
    meeting = replace(model, backbone=Meeting(3, dim=model.info.dim), head=None)
    pool = EmbedderPool(Embedder(meeting, batch_size=2, device="cpu", num_threads=1), num_workers=3)
    assert np.unique(pool.embed([noise(6, model=model)])).tolist() == [1.0]


def test_what_a_batch_fails_with_is_what_the_call_fails_with(model: LoadedModel) -> None:
    pool = EmbedderPool(Embedder(model, batch_size=2, device="cpu", num_threads=1), num_workers=2)
    with pytest.raises(ValueError, match="pictures must be uint8"):
        pool.embed([noise(5, model=model).astype(np.float32)])
    assert len(pool.embed([noise(5, model=model)])) == 5
