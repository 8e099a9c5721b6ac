"""How a batch of pictures gets from numpy arrays to the model's device, and features back."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override


class Feeder(Protocol):
    """Takes turns: ``rows`` are filled, ``send`` makes them a tensor, ``release`` once the model was called on it."""

    def rows(self) -> NDArray[np.uint8]:
        """The place to fill with the next batch, ``uint8[batch, H, W, 3]``, whatever it held before."""

    def send(self, num_rows: int) -> Tensor:
        """The first ``num_rows`` of what was filled, ``uint8[num_rows, H, W, 3]`` on the device."""

    def release(self) -> None:
        """The work that reads the last tensor sent has been handed to the device."""

    def results(self, num_rows: int, dim: int) -> Tensor:
        """A place on the host for features, ``float32[num_rows, dim]``."""

    def finish(self) -> None:
        """Wait until all results are there."""


class HostFeeder(Feeder):
    """For the CPU: the model reads the very buffer that is filled."""

    def __init__(self, *, shape: tuple[int, ...]) -> None:
        self._buffer = torch.zeros(shape, dtype=torch.uint8)

    @override
    def rows(self) -> NDArray[np.uint8]:
        buffer: NDArray[np.uint8] = self._buffer.numpy()
        return buffer

    @override
    def send(self, num_rows: int) -> Tensor:
        return self._buffer[:num_rows]

    @override
    def release(self) -> None:
        """Nothing to do: the model is done when its call returns."""

    @override
    def results(self, num_rows: int, dim: int) -> Tensor:
        return torch.empty((num_rows, dim), dtype=torch.float32)

    @override
    def finish(self) -> None:
        """Nothing to wait for."""


class PinnedSlot:
    """A page-locked buffer, its image on the GPU, and what of both is still in use."""

    def __init__(self, *, shape: tuple[int, ...], device: torch.device) -> None:
        self.host = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self.device = torch.zeros(shape, dtype=torch.uint8, device=device)
        self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        """After it the host buffer may be filled again, and the device's be read."""
        self.read = torch.cuda.Event()  # type: ignore[no-untyped-call]
        """After it the device buffer may be overwritten."""


class PinnedFeeder(Feeder):
    """For a GPU: while it computes one batch, the next is filled and copied, on a stream of its own.

    Events that were never recorded count as done, so the first round waits for nothing.
    """

    def __init__(self, *, shape: tuple[int, ...], device: torch.device) -> None:
        self._device = device
        self._slots = [PinnedSlot(shape=shape, device=device) for _ in range(2)]
        self._turn = 0
        self._copy_stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        # The slots' first zeros were written on the current stream.
        self._copy_stream.wait_stream(torch.cuda.current_stream(device))

    @override
    def rows(self) -> NDArray[np.uint8]:
        """Wait until the copy made from this buffer two batches ago is done."""
        slot = self._slots[self._turn]
        slot.copied.synchronize()
        buffer: NDArray[np.uint8] = slot.host.numpy()
        return buffer

    @override
    def send(self, num_rows: int) -> Tensor:
        """Return at once; the current stream waits for the copy."""
        slot = self._slots[self._turn]
        self._copy_stream.wait_event(slot.read)
        with torch.cuda.stream(self._copy_stream):
            slot.device[:num_rows].copy_(slot.host[:num_rows], non_blocking=True)
        slot.copied.record(self._copy_stream)
        torch.cuda.current_stream(self._device).wait_event(slot.copied)
        return slot.device[:num_rows]

    @override
    def release(self) -> None:
        self._slots[self._turn].read.record(torch.cuda.current_stream(self._device))
        self._turn = 1 - self._turn

    @override
    def results(self, num_rows: int, dim: int) -> Tensor:
        """Page-locked memory, so that copies into it do not hold up the next batch."""
        return torch.empty((num_rows, dim), dtype=torch.float32, pin_memory=True)

    @override
    def finish(self) -> None:
        torch.cuda.current_stream(self._device).synchronize()
