"""A queue that never makes the camera wait."""

from fractions import Fraction

import pytest

from pipeline.cameras.hosting.newest_wins import NewestWins, capacity_for


def test_where_it_is_full_the_oldest_gives_way() -> None:
    queue: NewestWins[int] = NewestWins(capacity=3)

    assert [queue.put(item) for item in range(5)] == [None, None, None, 0, 1]
    assert [queue.take() for _ in range(4)] == [2, 3, 4, None]


def test_all_that_waits_can_be_taken_at_once() -> None:
    queue: NewestWins[int] = NewestWins(capacity=3)
    for item in range(3):
        queue.put(item)

    assert queue.clear() == [0, 1, 2]
    assert len(queue) == 0


@pytest.mark.parametrize(("rate", "capacity"), [("1/60", 8), ("1", 8), ("25/2", 38), ("100", 64)])
def test_it_holds_a_hiccup_of_the_model_and_no_more(rate: str, capacity: int) -> None:
    assert capacity_for(Fraction(rate)) == capacity
