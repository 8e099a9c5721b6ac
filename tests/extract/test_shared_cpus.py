"""Who gets the CPUs where several executions of Ray Data go on at once: decoding, which alone asks for any."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pyarrow as pa
import pytest
import ray.data
from clusters import ray_of_this_process

from pipeline.extract.dataflow import as_tasks

_TASK_S = 0.4


@pytest.fixture(scope="module")
def own_ray() -> Iterator[None]:
    with ray_of_this_process():
        yield


def slept(block: pa.Table) -> pa.Table:
    began = time.time()
    time.sleep(_TASK_S)
    return pa.table({"began": [began], "ended": [time.time()]})


def run(num_tasks: int, *, most: int, num_cpus: float) -> list[tuple[float, float]]:
    """When each of the tasks began and ended."""
    blocks = ray.data.from_blocks([pa.table({"number": [number]}) for number in range(num_tasks)])
    done = blocks.map_batches(cast(Any, slept), **as_tasks(most, batch_size=None, num_cpus=num_cpus))
    rows = [row for table in done.iter_batches(batch_format="pyarrow") for row in table.to_pylist()]
    return [(row["began"], row["ended"]) for row in rows]


def at_once(times: Sequence[tuple[float, float]]) -> dict[int, float]:
    """How many seconds so many tasks ran at once."""
    moments = sorted([(began, 1) for began, _ in times] + [(ended, -1) for _, ended in times])
    seconds: dict[int, float] = {}
    running = 0
    for (moment, change), (then, _) in itertools.pairwise(moments):
        running += change
        seconds[running] = seconds.get(running, 0.0) + then - moment
    return seconds


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`ray_remote_args_fn` is deprecated")
@pytest.mark.usefixtures("own_ray")
def test_decoding_has_all_cpus_and_no_more_while_others_plan() -> None:
    planning = threading.Thread(target=run, args=(60,), kwargs={"most": 2, "num_cpus": 0})
    planning.start()
    time.sleep(2)

    seconds = at_once(run(24, most=4, num_cpus=1))

    assert planning.is_alive(), "the planning was too short to tell"
    planning.join()
    assert max(seconds) == 2, "Ray holds back what finds no CPU"
    assert seconds[2] > seconds.get(1, 0.0), "with a share for the planning, one would run at a time"
