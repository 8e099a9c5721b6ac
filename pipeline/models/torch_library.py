"""torch's own kernels that resize pictures, through the C interface of its CPU library and without Python's ``torch``.

``import torch`` loads all that torch can do, CUDA's libraries included: 280 MB that each process has for itself, and a
second of CPU. The CPU library alone takes 60 MB and a seventh of a second, and holds the very code that Python's
``torch`` calls. Its C interface is the one for extensions that outlive a release of torch
(``torch/csrc/stable/c/shim.h``); it can call any operator from 2.10 on.
"""

import ctypes
import importlib.util
import os
import platform
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.records.model_info import Interpolation

_FILE = "libtorch_cpu.so"
_WRITTEN_FOR = 2 << 56 | 10 << 48
"""The release of torch whose form of the arguments this is; later ones translate it."""

Value = TypeVar("Value", np.uint8, np.float32)


class TorchLibrary:
    """The kernels; the settings are the process's, and Python's ``torch`` shares them where it is loaded as well."""

    has_integer_bilinear = True

    def __init__(self, library: ctypes.CDLL) -> None:
        """Declare what is called of the library.

        Raises:
            AttributeError: it is of a torch before 2.10, or another compiler's.
        """
        self._from_blob = library.aoti_torch_create_tensor_from_blob
        self._from_blob.argtypes = (
            *(c_void_p, c_int64, POINTER(c_int64), POINTER(c_int64), c_int64),
            *(c_int32, c_int32, c_int32, POINTER(c_void_p)),
        )
        self._delete_tensor = library.aoti_torch_delete_tensor_object
        self._delete_tensor.argtypes = (c_void_p,)
        self._new_list = library.torch_new_list_reserve_size
        self._new_list.argtypes = (c_size_t, POINTER(c_void_p))
        self._append = library.torch_list_push_back
        self._append.argtypes = (c_void_p, c_uint64)
        self._call = library.torch_call_dispatcher
        self._call.argtypes = (c_char_p, c_char_p, POINTER(c_uint64), c_uint64)
        self._types = {
            np.dtype(np.uint8): library.aoti_torch_dtype_uint8(),
            np.dtype(np.float32): library.aoti_torch_dtype_float32(),
        }
        self._cpu = library.aoti_torch_device_type_cpu()
        # Of C++, for the C interface has none to set it: at::get_num_threads and at::set_num_threads.
        self._num_threads = library._ZN2at15get_num_threadsEv
        self._set_num_threads = library._ZN2at15set_num_threadsEi
        self._set_num_threads.argtypes = (c_int,)

    @classmethod
    def load(cls) -> Self | None:
        """The library beside the installed ``torch``, or ``None`` where it cannot do what Python's does."""
        found = importlib.util.find_spec("torch")
        if found is None or found.origin is None or not _resizes_integers():
            return None
        try:
            return cls(ctypes.CDLL(str(Path(found.origin).with_name("lib") / _FILE)))
        except (OSError, AttributeError):
            return None

    @property
    def num_threads(self) -> int:
        """With how many threads a kernel works."""
        return int(self._num_threads())

    @num_threads.setter
    def num_threads(self, count: int) -> None:
        self._set_num_threads(count)

    def resized(
        self, picture: NDArray[Value], *, size: tuple[int, int], interpolation: Interpolation, antialias: bool
    ) -> NDArray[Value]:
        """A picture of another size: ``[h, w, 3]``, C-contiguous, to ``[*size, 3]``.

        Raises:
            RuntimeError: torch refuses.
        """
        resized = np.empty((*size, 3), picture.dtype)
        # What the call is given is its own from then on, but for the pixels.
        arguments: list[int | None] = [self._tensor(picture), self._list(*size)]
        if interpolation == "nearest":
            operator = "aten::upsample_nearest2d"
        else:
            operator = f"aten::{'_' * antialias}upsample_{interpolation}2d{'_aa' * antialias}"
            arguments.append(False)  # align_corners
        arguments += [None, None, self._tensor(resized)]  # no scales: they follow from the sizes
        stack = (c_uint64 * len(arguments))(*(each or 0 for each in arguments))
        self._check(self._call(operator.encode(), b"out", stack, _WRITTEN_FOR), operator)
        self._check(self._delete_tensor(stack[0]), "delete")
        return resized

    def _tensor(self, picture: NDArray[Any]) -> int | None:
        """A tensor over the picture's own memory, as a batch of one that torch knows for channels_last."""
        height, width, channels = picture.shape
        sizes = (c_int64 * 4)(1, channels, height, width)
        strides = (c_int64 * 4)(picture.size, 1, channels * width, channels)
        kind, handle = self._types[picture.dtype], c_void_p()
        made = self._from_blob(picture.ctypes.data, 4, sizes, strides, 0, kind, self._cpu, 0, byref(handle))
        self._check(made, "create")
        return handle.value

    def _list(self, *values: int) -> int | None:
        handle = c_void_p()
        self._check(self._new_list(len(values), byref(handle)), "list")
        for value in values:
            self._check(self._append(handle, value), "append")
        return handle.value

    @staticmethod
    def _check(error: int, what: str) -> None:
        if error:
            raise RuntimeError(f"torch refuses: {what}")


def _resizes_integers() -> bool:
    """Whether torch is sure to resize ``uint8`` bilinearly without ``float32``; else only Python's ``torch`` knows."""
    if platform.machine() == "aarch64":
        return True
    if "ATEN_CPU_CAPABILITY" in os.environ:
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {"avx2", "fma"} <= set(flags)
