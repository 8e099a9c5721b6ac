"""Calls that wait for a model are joined: batches are filled, and each caller gets the rows of its own segments."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from patience import PATIENCE_S

from pipeline.extract.joined_calls import JoinedCalls


class Held:
    """A model that computes nothing until it is let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self._begun = threading.Semaphore(0)
        self._goes_on = threading.Event()

    def __call__(self, segments: pa.Table) -> pa.Table:
        self.calls.append(segments["segment"].to_pylist())
        self._begun.release()
        assert self._goes_on.wait(PATIENCE_S)
        if "bad" in segments["kind"].to_pylist():
            raise ValueError("features are not finite")
        return segments.select(["segment"])

    def wait_until_it_begins(self) -> None:
        """Wait for one more call to begin."""
        assert self._begun.acquire(timeout=PATIENCE_S)

    def let_go(self) -> None:
        self._goes_on.set()


def call_of(segments: Sequence[int], *, samples_each: int = 10, kind: str = "good") -> pa.Table:
    """Decoded segments of one call."""
    return pa.table(
        {"segment": segments, "num_samples": [samples_each] * len(segments), "kind": [kind] * len(segments)}
    )


def wait_until_they_wait(calls: JoinedCalls, number: int) -> None:
    while len(calls._waiting) < number:
        time.sleep(0.001)


def test_calls_that_wait_are_joined_in_their_order_up_to_so_many_samples() -> None:
    model = Held()
    calls = JoinedCalls(model, at_once=1, most_samples=50)
    with ThreadPoolExecutor(6) as threads:
        first = threads.submit(calls, call_of([0, 1]))
        model.wait_until_it_begins()
        others = []
        for number in range(5):
            others.append(threads.submit(calls, call_of([10 * number + 10, 10 * number + 11])))
            wait_until_they_wait(calls, number + 1)
        model.let_go()

    assert model.calls == [[0, 1], [10, 11, 20, 21], [30, 31, 40, 41], [50, 51]]
    rows = [future.result()["segment"].to_pylist() for future in (first, *others)]
    assert rows == [[0, 1], [10, 11], [20, 21], [30, 31], [40, 41], [50, 51]]


def test_call_of_more_samples_is_not_cut() -> None:
    model = Held()
    model.let_go()
    calls = JoinedCalls(model, at_once=1, most_samples=5)
    with ThreadPoolExecutor(1) as threads:
        rows = threads.submit(calls, call_of([0, 1]))
        model.wait_until_it_begins()
        assert rows.result()["segment"].to_pylist() == [0, 1]


def test_several_turns_are_taken_at_once() -> None:
    model = Held()
    calls = JoinedCalls(model, at_once=2, most_samples=50)
    with ThreadPoolExecutor(3) as threads:
        rows = []
        for number in range(2):
            rows.append(threads.submit(calls, call_of([number])))
            model.wait_until_it_begins()
        rows.append(threads.submit(calls, call_of([2])))
        wait_until_they_wait(calls, 1)
        assert len(model.calls) == 2
        model.let_go()
        assert [future.result()["segment"].to_pylist() for future in rows] == [[0], [1], [2]]


def test_what_the_model_raises_all_that_were_joined_raise_and_no_other() -> None:
    model = Held()
    calls = JoinedCalls(model, at_once=1, most_samples=20)
    with ThreadPoolExecutor(4) as threads:
        good = [threads.submit(calls, call_of([0]))]
        model.wait_until_it_begins()
        bad = []
        for number, kind in enumerate(("bad", "good")):
            bad.append(threads.submit(calls, call_of([1], kind=kind)))
            wait_until_they_wait(calls, number + 1)
        good.append(threads.submit(calls, call_of([2])))
        wait_until_they_wait(calls, 3)
        model.let_go()

    assert [future.result()["segment"].to_pylist() for future in good] == [[0], [2]]
    for future in bad:
        with pytest.raises(ValueError, match="not finite"):
            future.result()


def test_none_is_left_behind_where_many_call() -> None:
    calls = JoinedCalls(lambda segments: segments.select(["segment"]), at_once=2, most_samples=30)
    with ThreadPoolExecutor(16) as threads:
        rows = list(threads.map(lambda number: calls(call_of([number])), range(500)))
    assert [table["segment"].to_pylist() for table in rows] == [[number] for number in range(500)]


def test_model_is_computed_by_as_many_threads_as_turns_whoever_calls() -> None:
    threads_of_the_model = set()

    def model(segments: pa.Table) -> pa.Table:
        threads_of_the_model.add(threading.get_ident())
        return segments

    calls = JoinedCalls(model, at_once=1, most_samples=30)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: calls(call_of([number])), range(100)))
    assert len(threads_of_the_model) == 1
