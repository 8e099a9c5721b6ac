"""One features file unpacked: a header and arrays side by side, written from front to back and mapped into memory.

What lies in a lake may be anybody's, so a header is believed only where the file has the very length that follows from
it; there is nothing in the file that could be run.
"""

import contextlib
import json
import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.lake.appended_file import foreign_file
from pipeline.lake.publishing import temporaries
from pipeline.lake.unpacked.feature_rows import RUN, FeatureRows, Uris
from pipeline.lake.unpacked.parquet_parts import FileParts

_HEADER_BYTES = 4096
_MARK = "vidlake unpacked 1"
_INT64, _FLOAT64, _FLOAT32, _UINT8 = (np.dtype(kind) for kind in (np.int64, np.float64, np.float32, np.uint8))
_TYPES: dict[str, "np.dtype[Any]"] = {"float32": _FLOAT32, "float16": np.dtype(np.float16)}
_OF_ROWS = 6
"""The arrays of ``sections`` with a value a row; they come first."""


class BadRowFile(Exception):
    """A file that is not what its name says; it can be made again."""


class DiskRefused(Exception):
    """The local disk takes no more, or no such file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    num_rows: int
    dim: int
    dtype: str
    num_runs: int = 0
    num_uris: int = 0
    uri_bytes: int = 0
    mark: str = _MARK

    @classmethod
    def read(cls, data: bytes) -> Self:
        try:
            header = cls(**json.loads(data[:_HEADER_BYTES].rstrip(b"\0")))
        except (ValueError, TypeError, RecursionError):
            raise BadRowFile from None
        numbers = (header.num_rows, header.dim, header.num_runs, header.num_uris, header.uri_bytes)
        if header.mark != _MARK or header.dtype not in _TYPES or not all(_is_count(number) for number in numbers):
            raise BadRowFile
        return header

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode().ljust(_HEADER_BYTES, b"\0")

    def sections(self) -> Iterator[tuple[str, "np.dtype[Any]", tuple[int, ...]]]:
        """Each array's name, type and shape, in the order of the file."""
        yield "vectors", _TYPES[self.dtype], (self.num_rows, self.dim)
        yield "pts", _INT64, (self.num_rows,)
        yield "times_s", _FLOAT64, (self.num_rows,)
        yield "ends_s", _FLOAT64, (self.num_rows,)
        yield "captured_s", _FLOAT64, (self.num_rows,)
        yield "scales", _FLOAT32, (self.num_rows,)
        yield "runs", RUN, (self.num_runs,)
        yield "ends", _INT64, (self.num_uris,)
        yield "text", _UINT8, (self.uri_bytes,)

    def offsets(self) -> dict[str, int]:
        """Where each array begins, and under ``end`` the length of the file."""
        at, offsets = _HEADER_BYTES, {}
        for name, dtype, shape in self.sections():
            offsets[name] = at
            at += -(-math.prod(shape) * dtype.itemsize // 64) * 64
        return {**offsets, "end": at}


def file_bytes(num_rows: int, *, dim: int, dtype: str) -> int:
    """How long the file of so many rows is, about."""
    return _Header(num_rows=num_rows, dim=dim, dtype=dtype).offsets()["end"]


def write_rows(path: Path, parts: FileParts, *, dim: int, dtype: str, temporary: Path) -> None:
    """Unpack a features file; it appears whole under its name.

    Raises:
        ForeignFile: the features file is damaged.
        DiskRefused: the disk is full.
        OSError: the store failed.
    """
    header = _Header(num_rows=parts.num_rows, dim=dim, dtype=dtype)
    offsets, done = header.offsets(), 0
    with _written(temporary) as fd:
        for part in parts:
            for name, kind, _ in list(header.sections())[:_OF_ROWS]:
                values = np.ascontiguousarray(getattr(part, name), kind)
                _write(fd, values, offsets[name] + done * (values.nbytes // max(1, len(values))))
            done += len(part)
        if done != parts.num_rows:
            raise foreign_file(parts.uri, "its rows are damaged")
        runs, uris = parts.runs(), parts.uris()
        header = replace(header, num_runs=len(runs), num_uris=len(uris), uri_bytes=len(uris.text))
        offsets = header.offsets()
        for name, array in (("runs", runs), ("ends", uris.ends), ("text", uris.text)):
            _write(fd, array, offsets[name])
        _write(fd, np.frombuffer(header.to_bytes(), np.uint8), 0)
        _write(fd, np.zeros(1, np.uint8), offsets["end"] - 1)
        with _of_disk():
            os.fdatasync(fd)  # else a power cut could leave zeros under the final name
            os.replace(temporary, path)


@contextlib.contextmanager
def _written(temporary: Path) -> Iterator[int]:
    """A new file to write to, which is gone at the end unless it got another name."""
    with contextlib.ExitStack() as stack:
        with _of_disk():
            file = stack.enter_context(temporaries.created(temporary))
        stack.callback(temporary.unlink, missing_ok=True)
        yield file.fileno()


@contextlib.contextmanager
def _of_disk() -> Iterator[None]:
    """What the local disk refuses is no failure of the store that the features are read from."""
    try:
        yield
    except OSError as error:
        raise DiskRefused(error.strerror) from None


def open_rows(path: Path, *, dim: int, dtype: str) -> FeatureRows:
    """Map a file; nothing of its vectors is read yet.

    Raises:
        BadRowFile: it is not one of ours, or not whole, or of other features.
        FileNotFoundError: there is none.
    """
    with open(path, "rb") as file:
        header = _Header.read(file.read(_HEADER_BYTES))
        offsets = header.offsets()
        if os.fstat(file.fileno()).st_size != offsets["end"] or (header.dim, header.dtype) != (dim, dtype):
            raise BadRowFile
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {
        name: np.frombuffer(mapped, kind, count=math.prod(shape), offset=offsets[name]).reshape(shape)
        for name, kind, shape in header.sections()
    }
    uris = Uris(ends=arrays.pop("ends"), text=arrays.pop("text"))
    rows = FeatureRows(**arrays, uris=uris)
    _check(rows)
    return rows


def _check(rows: FeatureRows) -> None:
    """Make sure that the small arrays fit the rows: whoever reads by them relies on that.

    Raises:
        BadRowFile: they do not.
    """
    runs, ends = rows.runs, rows.uris.ends
    follows = np.append(0, np.cumsum(runs["count"]))
    is_sound = (
        (not len(runs) or runs["count"].min() > 0)
        and follows[-1] == len(rows)
        and np.array_equal(follows[:-1], runs["first"])
        and (not len(runs) or (runs["uri"].min() >= 0 and runs["uri"].max() < len(ends)))
        and (not len(ends) or ends[0] >= 0)
        and bool((np.diff(ends) >= 0).all())
        and (ends[-1] if len(ends) else 0) == len(rows.uris.text)
    )
    if not is_sound:
        raise BadRowFile


def _write(fd: int, array: NDArray[Any], offset: int) -> None:
    data = memoryview(array.reshape(-1).view(np.uint8).data) if array.size else memoryview(b"")
    with _of_disk():
        while data:
            written = os.pwrite(fd, data, offset)
            data, offset = data[written:], offset + written


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 48
