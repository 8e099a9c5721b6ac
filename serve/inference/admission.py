"""How many requests and sockets a replica takes, and when it takes no more."""

import asyncio
import contextlib
from collections.abc import Iterator

from serve.metrics import Metrics
from serve.problems import Busy
from serve.settings import Limits


class Admission:
    """Counts what is open in one replica, and refuses what goes beyond its limits."""

    def __init__(self, limits: Limits, *, metrics: Metrics) -> None:
        self.draining = asyncio.Event()
        """Set once the server is about to stop: what runs is finished, and nothing more is taken."""
        self._limits = limits
        self._metrics = metrics
        self._num_requests = 0
        self._num_sockets = 0

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop."""
        return self.draining.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether no request and no socket is open."""
        return not self._num_requests and not self._num_sockets

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Room for one request, from before its body is read until its answer is there.

        Raises:
            Busy: there is none.
        """
        self._require_open()
        if self._num_requests >= self._limits.queue:
            raise Busy(f"{self._num_requests} requests are waiting already")
        self._count_requests(1)
        try:
            yield
        finally:
            self._count_requests(-1)

    @contextlib.contextmanager
    def socket(self) -> Iterator[None]:
        """Room for one WebSocket.

        Raises:
            Busy: there is none.
        """
        self._require_open()
        if self._num_sockets >= self._limits.sockets:
            raise Busy(f"{self._num_sockets} sockets are open already")
        self._count_sockets(1)
        try:
            yield
        finally:
            self._count_sockets(-1)

    def _require_open(self) -> None:
        if self.is_draining:
            raise Busy("the server is about to stop")

    def _count_requests(self, more: int) -> None:
        self._num_requests += more
        self._metrics.queue(self._num_requests)

    def _count_sockets(self, more: int) -> None:
        self._num_sockets += more
        self._metrics.sockets(self._num_sockets)
