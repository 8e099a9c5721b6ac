"""An epoch shows every picture once, in an order of its own; no worker has a batch more than another."""

import numpy as np
import pytest

from pipeline.training.finetune.order import CHUNK, batches_of, epoch_order, share_of


@pytest.mark.parametrize("num", [1, 2, 63, 64, 65, 1000])
@pytest.mark.parametrize("window", [1, 100, 10_000])
def test_an_epoch_shows_every_picture_once(num: int, window: int) -> None:
    order = epoch_order(num, window=window, seed=3, epoch=1)
    assert sorted(order.tolist()) == list(range(num))


def test_an_epoch_that_is_begun_again_is_the_same_and_the_next_one_is_another() -> None:
    orders = [epoch_order(500, window=200, seed=3, epoch=epoch).tolist() for epoch in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert orders[0] != epoch_order(500, window=200, seed=4, epoch=1).tolist()


def test_what_one_window_holds_lies_in_few_places() -> None:
    """Reading it takes the chunks that it holds, and not the whole of the disk."""
    window = 4 * CHUNK
    order = epoch_order(100 * CHUNK, window=window, seed=0, epoch=1)
    chunks = [len(np.unique(order[at : at + window] // CHUNK)) for at in range(0, len(order), window)]
    assert max(chunks) <= 5
    assert any(np.diff(np.unique(order[:window])) > 1), "chunks are shuffled"
    assert any(np.diff(order[:CHUNK]) < 0), "pictures of a window are shuffled"


@pytest.mark.parametrize(
    ("num", "workers"),
    [(160, 1), (160, 2), (161, 2), (7, 4), (1, 1), (3, 5), (100, 7)],
)
def test_workers_have_the_same_number_of_batches_and_together_all_pictures(num: int, workers: int) -> None:
    order = epoch_order(num, window=10_000, seed=0, epoch=1)
    shares = [share_of(order, rank=rank, num_workers=workers) for rank in range(workers)]
    assert set(np.concatenate(shares).tolist()) == set(range(num))
    batches = [batches_of(share, batch_size=16) for share in shares]
    assert len({tuple(map(len, each)) for each in batches}) == 1


@pytest.mark.parametrize("length", [2, 15, 16, 17, 33, 160])
def test_no_batch_is_a_single_picture_or_too_large(length: int) -> None:
    """Batch normalisation knows no spread of a single picture."""
    share = np.arange(length)
    batches = batches_of(share, batch_size=16)
    assert np.concatenate(batches).tolist() == share.tolist()
    assert all(2 <= len(batch) <= 16 for batch in batches)
