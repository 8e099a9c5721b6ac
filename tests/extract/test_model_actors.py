"""Several actors hold the model of a run: what is decoded goes to the one that has least to do."""

import time
from collections import Counter
from typing import Any, cast

import pyarrow as pa
import pytest
import ray

from pipeline.extract.model_actors import ModelActors, Turns
from pipeline.extract.request import RunOptions
from pipeline.extract.sizes import NO_WORK, choose_sizes
from pipeline.records.resources import Hardware


def test_each_turn_is_of_the_actor_with_least_to_do() -> None:
    turns = Turns()
    taken = [turns.take(task, begun=[0, 1, 2], near=[]) for task in "abcdef"]
    assert taken == [0, 1, 2, 0, 1, 2]
    turns.give_back("b")
    turns.give_back("e")
    assert [turns.take(task, begun=[0, 1, 2], near=[]) for task in "gh"] == [1, 1]


@pytest.mark.parametrize(
    ("begun", "near", "expected"),
    [
        pytest.param([0, 1, 2], [2], 2, id="of-two-that-are-idle-the-one-on-this-node"),
        pytest.param([0, 1], [2], 1, id="one-that-has-not-begun-gets-nothing"),
        pytest.param([0], [], 0, id="a-busy-one-where-no-other-has-begun"),
    ],
)
def test_whose_turn_it_is(begun: list[int], near: list[int], expected: int) -> None:
    turns = Turns()
    assert turns.take("busy", begun=[0], near=[0]) == 0
    assert turns.take("next", begun=begun, near=near) == expected


def test_task_that_is_run_again_has_one_turn() -> None:
    turns = Turns()
    for _ in range(5):
        assert turns.take("a", begun=[0, 1], near=[]) == 0
    turns.give_back("a")
    assert turns.take("b", begun=[0, 1], near=[]) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("in_shared_ray")
def test_two_actors_share_the_work_evenly() -> None:
    class Slow:
        """Says who it is."""

        def __call__(self, samples: pa.Table) -> pa.Table:
            time.sleep(0.5)
            return samples.append_column("by", pa.array([ray.get_runtime_context().get_actor_id()] * len(samples)))

    hardware = Hardware(num_cpus=2, num_gpus=0, num_nodes=1)
    models = ModelActors(choose_sizes(hardware, NO_WORK, RunOptions(gpu_actors=2)), Slow)
    ask = cast(Any, ray).remote(num_cpus=0)(
        lambda at: models.begin(pa.table({"number": [at], "num_samples": [1]}), number=0).result()
    )

    def answers() -> list[pa.Table]:
        return ray.get([ask.remote(number) for number in range(6)])

    def who(tables: list[pa.Table]) -> Counter[str]:
        return Counter(table["by"][0].as_py() for table in tables)

    begun = who(answers())
    while len(begun) < 2:  # one of them may begin long after the other
        begun += who(answers())
    tables = answers()

    assert [table["number"].to_pylist() for table in tables] == [[number] for number in range(6)]
    assert who(tables).keys() == begun.keys()
    assert max(who(tables).values()) <= 4, "neither does much more than half"


@pytest.mark.slow
@pytest.mark.usefixtures("in_shared_ray")
def test_task_that_waits_for_a_model_keeps_its_cpu() -> None:
    class Slow:
        def __call__(self, samples: pa.Table) -> pa.Table:
            time.sleep(0.5)
            return samples

    models = ModelActors(choose_sizes(Hardware(num_cpus=2, num_gpus=0, num_nodes=1), NO_WORK, RunOptions()), Slow)

    def wait(number: int) -> tuple[float, float]:
        began = time.time()
        models.begin(pa.table({"number": [number], "num_samples": [1]}), number=0).result()
        return began, time.time()

    spans = ray.get([cast(Any, ray).remote(num_cpus=1)(wait).remote(number) for number in range(6)])
    most = max(sum(began <= at < ended for began, ended in spans) for at, _ in spans)
    assert most <= 2, "the CPUs of this Ray"
