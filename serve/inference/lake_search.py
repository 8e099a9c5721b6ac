"""Searches in the lake that is served: beside the event loop, and with the copies that make them fast in the making."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.errors import PipelineError, StorageError, UsageError
from pipeline.explore.answers import Answer
from pipeline.explore.queries import Query, Scope
from pipeline.explore.searcher import Searcher
from serve.problems import Problem, StoreFailed

_LOG = logging.getLogger("ray.serve")
_AT_ONCE = 2
"""Searches; each computes with all CPUs."""
_POLL_S = 5.0
"""How often new files are unpacked. Until then they are read as Parquet by each search."""

Result = TypeVar("Result")


class LakeSearch:
    """The search engine of a server's lake.

    Attributes:
        searcher: the engine itself, which blocks.
    """

    def __init__(self, uri: str) -> None:
        """Open the lake; copies are made once ``watch`` is called.

        Raises:
            UsageError: there is no dataset.
        """
        self.searcher = Searcher.at(uri)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="search")
        self._is_closed = threading.Event()

    def watch(self) -> None:
        """Unpack what is there, and from then on what comes, in the background."""
        threading.Thread(target=self._unpack, name="unpack", daemon=True).start()

    async def search(self, query: Query, *, scope: Scope, top: int, by_rows: bool, exact: bool) -> Answer:
        """As ``Searcher.search``.

        Raises:
            Problem: the query does not fit, or the lake cannot be read.
        """
        return await self.computed(
            lambda: self.searcher.search(query, scope=scope, top=top, by_rows=by_rows, exact=exact)
        )

    async def computed(self, call: Callable[[], Result]) -> Result:
        """What a call gives that looks into the lake, in a thread of its own.

        Raises:
            Problem: as ``search``.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except UsageError as error:
            raise Problem(str(error)) from None
        except StorageError as error:
            _LOG.warning("the lake cannot be read", exc_info=error)
            raise StoreFailed("the lake's store does not answer") from None

    def close(self) -> None:
        """End the threads when they have finished."""
        self._is_closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _unpack(self) -> None:
        while not self._is_closed.is_set():
            try:
                self.searcher.unpack(_LOG.info)
            except (PipelineError, OSError) as error:
                _LOG.warning("the lake cannot be unpacked; searches read Parquet", exc_info=error)
            self._is_closed.wait(_POLL_S)
