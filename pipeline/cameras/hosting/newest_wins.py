"""A queue that never makes its writer wait: where it is full, the oldest gives way to the newest."""

import math
from collections import deque
from fractions import Fraction
from typing import Generic, TypeVar

Item = TypeVar("Item")

_HELD_S = 3
"""What a busy model may be behind: a hiccup of so long drops nothing, and what comes out is never older."""
_LEAST, _MOST = 8, 64


class NewestWins(Generic[Item]):
    """Items that wait, first in first out. Not for several threads at once."""

    def __init__(self, *, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a queue for {capacity} items")
        self._items: deque[Item] = deque()
        self._capacity = capacity

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> Item | None:
        """Add an item; returns the one that had to give way."""
        self._items.append(item)
        return self._items.popleft() if len(self._items) > self._capacity else None

    def take(self) -> Item | None:
        """The oldest that waits; ``None``: there is none."""
        return self._items.popleft() if self._items else None

    def clear(self) -> list[Item]:
        """Take all that waits."""
        items = list(self._items)
        self._items.clear()
        return items


def capacity_for(rate_hz: Fraction) -> int:
    """How many samples of a stream may wait for the model."""
    return max(_LEAST, min(_MOST, math.ceil(_HELD_S * rate_hz)))
