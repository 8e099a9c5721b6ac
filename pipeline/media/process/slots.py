"""Where the decoder process puts its pictures: memory that its parent reads."""

import mmap
from typing import Any

import numpy as np
from msgspec.structs import replace

from pipeline.media.process.messages import Painted, written
from pipeline.media.process.wire import FULL_SLOT_BYTES, NUM_SLOTS, Channel


class Slots:
    """Room for pictures in memory shared with the parent: while it looks at one slot, the other is filled."""

    def __init__(self, control: Channel, shared: mmap.mmap) -> None:
        self._control = control
        self._shared = shared
        self._slot_bytes = len(shared) // NUM_SLOTS
        self._num_sent = 0
        self._num_in_flight = 0
        self._used_bytes = 0
        self._painted: list[Painted] = []  # what lies in the slot that is being filled

    def claim(self, num_bytes: int) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], int]:
        """Room for a picture as a flat array, and its offset; may wait until the parent is done with earlier ones."""
        if self._painted and self._used_bytes + num_bytes > min(FULL_SLOT_BYTES, self._slot_bytes):
            self.hand_over()
        if not self._painted:
            self._used_bytes = 0
            if self._num_in_flight == NUM_SLOTS:
                self._await_one()
        offset = self._num_sent % NUM_SLOTS * self._slot_bytes + self._used_bytes
        self._used_bytes += num_bytes
        return np.frombuffer(self._shared, np.uint8, num_bytes, offset), offset

    def add(self, painted: Painted) -> None:
        """The room that was claimed holds this picture now."""
        self._painted.append(painted)

    def hand_over(self) -> None:
        """Tell the parent of the pictures that it does not know of yet."""
        if not self._painted:
            return
        self._painted[-1] = replace(self._painted[-1], is_last_in_slot=True)
        self._control.send(*map(written, self._painted))
        self._painted.clear()
        self._num_sent += 1
        self._num_in_flight += 1

    def settle(self) -> None:
        """Hand over every picture, and wait until the parent is done with it."""
        self.hand_over()
        while self._num_in_flight:
            self._await_one()

    def _await_one(self) -> None:
        self._control.receive()
        self._num_in_flight -= 1
