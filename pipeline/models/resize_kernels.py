"""Whose kernels resize pictures here: torch's own in either case, and its CPU library's alone where that will do."""

from functools import cache
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.models.torch_library import TorchLibrary
from pipeline.records.model_info import Interpolation

Value = TypeVar("Value", np.uint8, np.float32)


class ResizeKernels(Protocol):
    """What torch resizes with."""

    num_threads: int
    """With how many threads a kernel works, in this process."""

    @property
    def has_integer_bilinear(self) -> bool:
        """Whether torchvision resizes ``uint8`` bilinearly here without going through ``float32``."""

    def resized(
        self, picture: NDArray[Value], *, size: tuple[int, int], interpolation: Interpolation, antialias: bool
    ) -> NDArray[Value]:
        """A picture of another size: ``[h, w, 3]``, C-contiguous, to ``[*size, 3]``, which may be no copy of its own.

        In ``float32`` values do not depend on the number of threads only if that is one.
        """


@cache
def resize_kernels() -> ResizeKernels:
    """The kernels of this process."""
    return TorchLibrary.load() or PythonTorch()


class PythonTorch:
    """The kernels by way of Python's ``torch``: wherever the library alone is of no use."""

    def __init__(self) -> None:
        import torch
        from torch.nn.functional import interpolate

        self._torch, self._interpolate = torch, interpolate

    @property
    def has_integer_bilinear(self) -> bool:
        """Whether torchvision resizes ``uint8`` bilinearly here without going through ``float32``."""
        import platform

        capability = self._torch.backends.cpu.get_cpu_capability()
        return capability in {"AVX2", "AVX512"} or platform.machine() in {"aarch64", "arm64"}

    @property
    def num_threads(self) -> int:
        """With how many threads a kernel works."""
        return self._torch.get_num_threads()

    @num_threads.setter
    def num_threads(self, count: int) -> None:
        self._torch.set_num_threads(count)

    def resized(
        self, picture: NDArray[Value], *, size: tuple[int, int], interpolation: Interpolation, antialias: bool
    ) -> NDArray[Value]:
        """A picture of another size: ``[h, w, 3]``, C-contiguous, to ``[*size, 3]``."""
        picture = np.require(picture, requirements=("W",))  # torch warns of read-only arrays
        # The stride of the single batch element tells torch that this is channels_last; with the stride that permute
        # leaves, it packs the result anew (pytorch/pytorch#68430).
        strides = (picture.size, 1, picture.strides[0] // picture.itemsize, 3)
        pixels = self._torch.from_numpy(picture).as_strided((1, 3, *picture.shape[:2]), strides)
        if interpolation == "nearest":
            resized = self._interpolate(pixels, size=size, mode=interpolation)
        else:
            resized = self._interpolate(pixels, size=size, mode=interpolation, align_corners=False, antialias=antialias)
        array: NDArray[Value] = resized[0].permute(1, 2, 0).numpy()
        return array
