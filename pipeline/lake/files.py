"""The files of a dataset: listed, read with patience, and published under the token of a lease."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import RunError
from pipeline.lake.publishing.lease import Backend, Fence
from pipeline.storage.retry import DEFAULT_RETRY, Transient, persistently

Result = TypeVar("Result")

_THREADS = 16
_AT_ONCE = 2 * _THREADS


class ForeignFile(RunError):
    """A file in a folder of the dataset that is not ours, or no longer whole."""


class DatasetFiles:
    """The files of one dataset, by names that are relative to it."""

    def __init__(self, backend: Backend) -> None:
        self.store = backend.store
        self._backend = backend

    def uri(self, name: str) -> str:
        """The address of a file."""
        return f"{self.store.uri}/{name}"

    def fence(self, token: str) -> Fence:
        """The way in for the workers of the run with this token."""
        return self._backend.fence(token=token)

    def tables(self, folder: str) -> list[str]:
        """What readers of a folder see: their globs look for ``*.parquet``, and pass over hidden files."""
        names = self.store.list(folder)
        return [name for name in names if name.endswith(".parquet") and name.rpartition("/")[2][0] not in "._"]

    def read(self, name: str, how: Callable[[pa.NativeFile], Result]) -> Result:
        """Read a file with patience: opening is not all that may fail."""

        def attempt() -> Result:
            with self.store.open_input(name) as file:
                try:
                    return how(file)
                except OSError as error:
                    raise Transient(error.strerror or str(error)) from None

        return persistently(attempt, uri=self.uri(name), retry=DEFAULT_RETRY)

    def read_each(self, names: Sequence[str], how: Callable[..., Result]) -> Iterator[tuple[str, Result]]:
        """Read something small of many files, such as their footers; ``how`` also gets the file's ``uri``."""
        for at in range(0, len(names), _AT_ONCE):  # not all: the driver's memory is bounded
            some = names[at : at + _AT_ONCE]
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="footer") as pool:
                results = pool.map(lambda name: self.read(name, partial(how, uri=self.uri(name))), some)
                found = deque(zip(some, results, strict=True))
            # Threads have ended by now, for the caller may stop early; and what it has let go of is held nowhere else.
            while found:
                yield found.popleft()

    def read_ours(self, name: str, how: Callable[[pa.NativeFile], Result]) -> Result:
        """Read a file that can be made again.

        Raises:
            ForeignFile: it is damaged.
        """

        def read(file: pa.NativeFile) -> Result:
            try:
                return how(file)
            except (pa.ArrowException, KeyError, ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise ForeignFile(f"{self.uri(name)} is damaged: remove it and run the command again") from None

        return self.read(name, read)


def digest_of(keys: Iterable[str]) -> str:
    """The name of a file that holds what these keys stand for, so that it is published once whoever writes it."""
    return hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file without further ado."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
