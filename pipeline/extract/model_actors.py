"""The actors that hold a run's models, from its first video to its last, whatever hands them samples meanwhile."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import pyarrow as pa
import ray

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.extract.sizes import Sizes

_CALLS_AT_ONCE = 2
"""That each actor has: the samples of the next one are there before it is done with the last."""


class Model(Protocol):
    """What such an actor holds: see ``operators.Embed``."""

    def __call__(self, samples: pa.Table) -> pa.Table:
        """Decoded segments to the same segments with the features of each model."""


class Embedding:
    """One actor: it loads its models once, in its first call, so that why they do not load comes out as itself.

    Several threads may call it at once.
    """

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make = make
        self._model: Model | None = None
        self._loading = threading.Lock()

    def load(self) -> None:
        """Load the models, where they are not loaded yet."""
        self._loaded()

    def node(self) -> str:
        """Where it is."""
        node_id: str = ray.get_runtime_context().get_node_id()
        return node_id

    def embed(self, samples: pa.Table) -> pa.Table:
        """Decoded segments to the same segments with the features of each model."""
        return self._loaded()(samples)

    def _loaded(self) -> Model:
        with self._loading:
            if self._model is None:
                self._model = self._make()
            return self._model


class Turns:
    """Who of several actors is at work on what, for those that hand samples to them."""

    def __init__(self) -> None:
        self._at_work: dict[str, int] = {}

    def take(self, task: str, *, begun: Sequence[int], near: Sequence[int]) -> int:
        """The number of that of the ``begun`` actors which has least to do, and of several one that is ``near``.

        A task that is run again, because its worker died, has one turn and not two.
        """
        self._at_work.pop(task, None)
        waiting = Counter(self._at_work.values())
        chosen = min(begun, key=lambda number: (waiting[number], number not in near))
        self._at_work[task] = chosen
        return chosen

    def give_back(self, task: str) -> None:
        """The task is done."""
        self._at_work.pop(task, None)


class ModelActors:
    """Actors that are started as this is made, and end when the last copy of it is gone.

    An actor that dies is started again elsewhere, and what it was at work on is done once more.
    """

    def __init__(self, sizes: Sizes, make: Callable[[], Model]) -> None:
        options: dict[str, Any] = {
            "num_cpus": 0,
            "num_gpus": sizes.actor_gpus or None,
            "scheduling_strategy": "SPREAD",
            "max_restarts": -1,
            "max_task_retries": -1,
            # On a GPU models of several precisions take turns, for cuDNN's settings are the process's.
            "max_concurrency": 1 if sizes.actor_gpus else _CALLS_AT_ONCE,
            "runtime_env": environment_of_actors(sizes),
        }
        actor = cast(Any, ray).remote(**options)(Embedding)
        self._actors: list[Any] = [actor.remote(make) for _ in range(sizes.num_actors)]
        self._places = [actor.node.remote() for actor in self._actors]
        self._turns = _turns() if len(self._actors) > 1 else None
        for actor in self._actors:
            actor.load.remote()

    @property
    def num_calls(self) -> int:
        """How many calls at once keep all of them busy, while the next samples are on their way."""
        return _CALLS_AT_ONCE * len(self._actors)

    def embed(self, samples: pa.Table) -> pa.Table:
        """Have one of them embed the samples of decoded segments: that which has least to do."""
        if self._turns is None:
            return self._embedded(samples, by=0)
        here, task = ray.get_runtime_context().get_node_id(), ray.get_runtime_context().get_task_id()
        places = self._known_places()
        near = [number for number, place in places.items() if place == here]
        begun = list(places) or list(range(len(self._actors)))
        number: int = ray.get(self._turns.take.remote(task, begun=begun, near=near))
        try:
            return self._embedded(samples, by=number)
        finally:
            self._turns.give_back.remote(task)

    def _embedded(self, samples: pa.Table, *, by: int) -> pa.Table:
        features: pa.Table = ray.get(self._actors[by].embed.remote(samples))
        return features

    def _known_places(self) -> dict[int, str]:
        """The nodes of those that have begun; one that was started again may be elsewhere."""
        begun, _ = ray.wait(self._places, num_returns=len(self._places), timeout=0)
        return {number: ray.get(place) for number, place in enumerate(self._places) if place in begun}


def _turns() -> Any:
    return cast(Any, ray).remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Turns).remote()


def environment_of_actors(sizes: Sizes) -> dict[str, dict[str, str]] | None:
    """The environment of a process that holds a model: on a CPU it shares the cores with decoders.

    The model computes in memory that it had before, and a thread that waits for another one leaves its core to them.
    """
    return None if sizes.actor_gpus else {"env_vars": {**KEEPING_WHAT_IS_FREED, "OMP_WAIT_POLICY": "PASSIVE"}}
