"""Calls of one model that wait for it, made one: what is left of one call fills a batch with what is left of another.

On a GPU, or compiled, a model computes batches of one shape, and one that is not full takes as long as a full one. The
server's ``Batcher`` divides a batch among its callers, so that none waits long; here only throughput counts.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa


class JoinedCalls:
    """Called by many threads, each with decoded segments. While the model is busy they wait, and are joined.

    The model is called by threads of its own, a thread for each call that may be under way: what cuDNN found to be the
    fastest kernels, and its workspaces, belong to the thread that computes, and it would search anew in each caller's.
    """

    def __init__(self, model: Callable[[pa.Table], pa.Table], *, at_once: int, most_samples: int) -> None:
        """Join calls of ``model``, which gives a row for each row.

        Args:
            model: decoded segments, with their ``num_samples``, to the same with features.
            at_once: calls of it that are under way.
            most_samples: that calls are joined to; a single one may have more.
        """
        self._model = model
        self._most_samples = most_samples
        self._threads = ThreadPoolExecutor(at_once)
        self._waiting: list[_Call] = []
        self._lock = threading.Lock()

    def __call__(self, samples: pa.Table) -> pa.Table:
        """The rows of ``model`` for decoded segments; what it raises, all callers that were joined raise."""
        call = _Call(samples)
        with self._lock:
            self._waiting.append(call)
        # There is a turn for each call, and each turn takes a call if any waits: none is left behind.
        self._threads.submit(self._take_turn)
        return call.result.result()

    def _take_turn(self) -> None:
        if calls := self._next():
            self._compute(calls)

    def _next(self) -> list["_Call"]:
        """Those that came first; none where other turns took them all."""
        with self._lock:
            joined = num_samples = 0
            for call in self._waiting:
                num_samples += call.num_samples
                if joined and num_samples > self._most_samples:
                    break
                joined += 1
            calls, self._waiting = self._waiting[:joined], self._waiting[joined:]
        return calls

    def _compute(self, calls: list["_Call"]) -> None:
        try:
            rows = self._model(pa.concat_tables([call.samples for call in calls]))
        except BaseException as error:  # noqa: BLE001 (each caller that waits raises it again)
            for call in calls:
                call.result.set_exception(error)
            return
        begin = 0
        for call in calls:
            call.result.set_result(rows.slice(begin, len(call.samples)))
            begin += len(call.samples)


class _Call:
    """One caller's segments, and what it waits for."""

    def __init__(self, samples: pa.Table) -> None:
        self.samples = samples
        self.num_samples: int = sum(samples["num_samples"].to_pylist())
        self.result: Future[pa.Table] = Future()
