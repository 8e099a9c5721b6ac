"""Who gets the CPUs where several executions of Ray Data go on at once: decoding, which alone asks for any."""

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
import ray.data
from patience import PATIENCE_S

from pipeline.extract.dataflow import as_tasks

_TASK_S = 0.2


def plan(block: pa.Table, *, began: Path, is_over: Path) -> pa.Table:
    began.touch()
    while not is_over.exists():
        time.sleep(0.05)
    return block


def decode_with_another(block: pa.Table, *, began: Path) -> pa.Table:
    """Tasks come in twos, in the order in which they begin: the first of two ends only once the second has begun."""
    num_before = next(number for number in itertools.count() if is_first_at(began / str(number)))
    started_at, companion = time.time(), began / str(num_before | 1)
    while not companion.exists():
        assert time.time() < started_at + PATIENCE_S, "it is alone"
        time.sleep(0.01)
    time.sleep(_TASK_S)
    return pa.table({"began": [started_at], "ended": [time.time()]})


def is_first_at(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def run(do: Callable[[pa.Table], pa.Table], num_tasks: int, *, most: int, num_cpus: float) -> list[dict[str, Any]]:
    blocks = ray.data.from_blocks([pa.table({"number": [number]}) for number in range(num_tasks)])
    done = blocks.map_batches(cast(Any, do), **as_tasks(most, batch_size=None, num_cpus=num_cpus))
    return [row for table in done.iter_batches(batch_format="pyarrow") for row in table.to_pylist()]


def most_at_once(spans: Sequence[dict[str, float]]) -> int:
    return max(sum(span["began"] <= at["began"] < span["ended"] for span in spans) for at in spans)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`ray_remote_args_fn` is deprecated")
@pytest.mark.usefixtures("in_shared_ray")
def test_decoding_has_all_cpus_and_no_more_while_others_plan(tmp_path: Path) -> None:
    (began := tmp_path / "began").mkdir()
    is_planning, is_over = tmp_path / "planning", tmp_path / "decoded"
    waiting = partial(plan, began=is_planning, is_over=is_over)
    planning = threading.Thread(target=run, args=(waiting, 8), kwargs={"most": 2, "num_cpus": 0})
    planning.start()
    try:
        while not is_planning.exists():
            time.sleep(0.05)
        # Given a share of the CPUs, as the planning is, decoding would have one task at a time, which waits in vain.
        spans = run(partial(decode_with_another, began=began), 24, most=4, num_cpus=1)
        assert planning.is_alive()
    finally:
        is_over.touch()
        planning.join()
    assert most_at_once(spans) == 2, "Ray holds back what finds no CPU"
