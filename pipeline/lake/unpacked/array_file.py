"""A file of plain arrays: a header that names them, then one after the other, to be mapped into memory.

What lies in a lake may be anybody's: nothing in such a file could be run, and a header is believed only where the file
has the very length that follows from it.
"""

import contextlib
import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.publishing import temporaries
from pipeline.records.documents import Document, document_of, part, parts, text, wholes

_HEADER_BYTES = 1 << 16
_ALIGNED_BYTES = 64
_MARK = "vidlake arrays 1"
_TYPES = {name: np.dtype(name) for name in ("uint8", "int32", "int64", "float16", "float32", "float64")}
_MOST_VALUES = 1 << 48


class BadArrayFile(Exception):
    """A file that is not what its name says; it can be made again."""


class DiskRefused(Exception):
    """The local disk takes no more, or no such file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Array:
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def end(self) -> int:
        num_bytes = math.prod(self.shape) * _TYPES[self.dtype].itemsize
        return self.offset + -(-num_bytes // _ALIGNED_BYTES) * _ALIGNED_BYTES

    @classmethod
    def after(cls, last: Self | None, name: str, dtype: str, shape: tuple[int, ...]) -> Self:
        if dtype not in _TYPES or not all(0 <= size < _MOST_VALUES for size in shape):
            raise BadArrayFile
        return cls(name=name, dtype=dtype, shape=shape, offset=_HEADER_BYTES if last is None else last.end)


class ArrayWriter:
    """Writes such a file; arrays may be filled in any order once they are declared."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._arrays: dict[str, _Array] = {}

    def declare(self, name: str, dtype: str, *shape: int) -> None:
        """Make room for an array behind those that were declared before."""
        last = next(reversed(self._arrays.values()), None)
        self._arrays[name] = _Array.after(last, name, dtype, shape)
        with _of_disk():
            os.ftruncate(self._fd, self._arrays[name].end)

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Declare an array and fill it."""
        self.declare(name, values.dtype.name, *values.shape)
        self.fill(name, values)

    def fill(self, name: str, values: NDArray[Any], *, at: int = 0) -> None:
        """Write values of an array from a row on.

        Raises:
            DiskRefused: the disk is full.
        """
        array = self._arrays[name]
        values = np.ascontiguousarray(values, _TYPES[array.dtype])
        row_bytes = math.prod(array.shape[1:]) * values.itemsize
        data = values.reshape(-1).view(np.uint8).data if values.size else memoryview(b"")
        offset = array.offset + at * row_bytes
        with _of_disk():
            while data:
                written = os.pwrite(self._fd, data, offset)
                data, offset = data[written:], offset + written

    def mapped(self, name: str) -> NDArray[Any]:
        """A declared array to write to, as memory that belongs to the file."""
        array = self._arrays[name]
        whole = mmap.mmap(self._fd, array.end)
        values = np.frombuffer(whole, _TYPES[array.dtype], count=math.prod(array.shape), offset=array.offset)
        return values.reshape(array.shape)

    def close(self, about: Document, *, is_awaited: bool = True) -> None:
        """Write the header, which says what the arrays are; ``about`` is given back by ``open_arrays``.

        Without ``is_awaited``, a power cut may leave zeros in the file: whoever opens it must know of that.

        Raises:
            DiskRefused: the disk is full.
        """
        listed = [{"name": each.name, "dtype": each.dtype, "shape": each.shape} for each in self._arrays.values()]
        header = json.dumps({"mark": _MARK, "arrays": listed, "about": about}).encode()
        if len(header) > _HEADER_BYTES:
            raise ValueError(f"a header of {len(header)} bytes")
        with _of_disk():
            os.pwrite(self._fd, header.ljust(_HEADER_BYTES, b"\0"), 0)
            if is_awaited:
                os.fdatasync(self._fd)


@contextlib.contextmanager
def written_arrays(path: Path, *, temporary: Path) -> Iterator[ArrayWriter]:
    """A writer of a file that appears whole under its name at the end; an error leaves nothing.

    Raises:
        DiskRefused: the disk is full, or takes no such file.
    """
    with contextlib.ExitStack() as stack:
        with _of_disk():
            file = stack.enter_context(temporaries.created_to_map(temporary))
        stack.callback(temporary.unlink, missing_ok=True)
        yield ArrayWriter(file.fileno())
        with _of_disk():
            os.replace(temporary, path)


def open_arrays(path: Path) -> tuple[Document, Mapping[str, NDArray[Any]]]:
    """What a file is about, and its arrays, mapped: nothing of them is read yet.

    Raises:
        BadArrayFile: it is not one of ours, or not whole.
        OSError: there is none, or it cannot be read.
    """
    with open(path, "rb") as file:
        about, arrays = _header(file.read(_HEADER_BYTES))
        end = arrays[-1].end if arrays else _HEADER_BYTES
        if os.fstat(file.fileno()).st_size != end:
            raise BadArrayFile
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return about, {
        each.name: np.frombuffer(mapped, _TYPES[each.dtype], count=math.prod(each.shape), offset=each.offset).reshape(
            each.shape
        )
        for each in arrays
    }


def _header(data: bytes) -> tuple[Document, list[_Array]]:
    try:
        header = document_of(json.loads(data.rstrip(b"\0")), name="the header")
        if text(header, "mark") != _MARK:
            raise BadArrayFile
        arrays: list[_Array] = []
        for each in parts(header, "arrays"):
            last = arrays[-1] if arrays else None
            arrays.append(_Array.after(last, text(each, "name"), text(each, "dtype"), wholes(each, "shape")))
        return part(header, "about"), arrays
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadArrayFile from None


@contextlib.contextmanager
def _of_disk() -> Iterator[None]:
    """What the local disk refuses is no failure of the store that the features are read from."""
    try:
        yield
    except OSError as error:
        raise DiskRefused(error.strerror) from None
