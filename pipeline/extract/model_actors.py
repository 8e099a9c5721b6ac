"""The actors that hold a run's models, from its first video to its last, whatever hands them samples meanwhile."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol, cast

import pyarrow as pa
import ray

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.extract.joined_calls import JoinedCalls
from pipeline.extract.sizes import Sizes

_CALLS_AT_ONCE = 2
"""That an actor on a CPU computes: while one of them is read or written, the other has the cores."""
_CALLS_TAKEN_IN = 32
"""That an actor computes, or has read and joins to one while they wait."""


class Model(Protocol):
    """What such an actor holds: see ``operators.Embed``."""

    def __call__(self, samples: pa.Table) -> pa.Table:
        """Decoded segments to the same segments with the features of each model."""


class Embedding:
    """One actor: it loads its models once, in its first call, so that why they do not load comes out as itself.

    Several threads call it at once.
    """

    def __init__(self, make: Callable[[], Model], turns: Any) -> None:
        self._make = make
        self._turns = turns
        self._model: Model | None = None
        self._loading = threading.Lock()

    def load(self) -> None:
        """Load the models, where they are not loaded yet."""
        self._loaded()

    def node(self) -> str:
        """Where it is."""
        node_id: str = ray.get_runtime_context().get_node_id()
        return node_id

    def embed(self, samples: pa.Table, *, call: str) -> pa.Table:
        """Decoded segments to the same segments with the features of each model; the call's turn is over then."""
        try:
            return self._loaded()(samples)
        finally:
            if self._turns is not None:
                self._turns.give_back.remote(call)

    def _loaded(self) -> Model:
        with self._loading:
            if self._model is None:
                self._model = self._make()
            return self._model


class Turns:
    """Who of several actors is at work on what, for those that hand samples to them."""

    def __init__(self) -> None:
        self._at_work: dict[str, int] = {}

    def take(self, call: str, *, begun: Sequence[int], near: Sequence[int]) -> int:
        """The number of that of the ``begun`` actors which has least to do, and of several one that is ``near``.

        A call that is made again, because the worker of its task died, has one turn and not two.
        """
        self._at_work.pop(call, None)
        waiting = Counter(self._at_work.values())
        chosen = min(begun, key=lambda number: (waiting[number], number not in near))
        self._at_work[call] = chosen
        return chosen

    def give_back(self, call: str) -> None:
        """The call is done."""
        self._at_work.pop(call, None)


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
            "max_concurrency": _CALLS_TAKEN_IN,
            "runtime_env": environment_of_actors(sizes),
        }
        actor = cast(Any, ray).remote(**options)(Embedding)
        self._turns: Any = _turns() if sizes.num_actors > 1 else None
        make_joined = partial(_joined, make, sizes)
        self._actors: list[Any] = [actor.remote(make_joined, self._turns) for _ in range(sizes.num_actors)]
        self._places = [actor.node.remote() for actor in self._actors]
        self._begun: dict[int, str] = {}
        """The nodes of those that have; one that was started again since may be elsewhere."""
        for actor in self._actors:
            actor.load.remote()

    def begin(self, samples: pa.Table, *, number: int) -> Future[pa.Table]:
        """Have one of them embed the samples of decoded segments: that which has least to do, and begun.

        Args:
            samples: decoded segments.
            number: of this call among those of the task.
        """
        call = f"{ray.get_runtime_context().get_task_id()} {number}"
        chosen = 0 if self._turns is None else self._least_busy(call)
        return _future(self._actors[chosen].embed.remote(samples, call=call))

    def _least_busy(self, call: str) -> int:
        self._ask_who_has_begun()
        here = ray.get_runtime_context().get_node_id()
        near = [number for number, place in self._begun.items() if place == here]
        begun = list(self._begun) or list(range(len(self._actors)))
        number: int = _future(self._turns.take.remote(call, begun=begun, near=near)).result()
        return number

    def _ask_who_has_begun(self) -> None:
        left = {place: number for number, place in enumerate(self._places) if number not in self._begun}
        if left:
            begun, _ = ray.wait(list(left), num_returns=len(left), timeout=0)
            self._begun.update(zip([left[place] for place in begun], ray.get(begun), strict=True))


def _joined(make: Callable[[], Model], sizes: Sizes) -> Model:
    # On a GPU models of several precisions take turns, for cuDNN's settings are the process's.
    at_once = 1 if sizes.actor_gpus else _CALLS_AT_ONCE
    return JoinedCalls(make(), at_once=at_once, most_samples=sizes.samples_per_call)


def _future(ref: Any) -> Future[Any]:
    """The result of a call. A task that waits for it keeps its CPU; with ``ray.get`` Ray would start another one."""
    future: Future[Any] = ref.future()
    return future


def _turns() -> Any:
    return cast(Any, ray).remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Turns).remote()


def environment_of_actors(sizes: Sizes) -> dict[str, dict[str, str]] | None:
    """The environment of a process that holds a model: on a CPU it shares the cores with decoders.

    The model computes in memory that it had before, and a thread that waits for another one leaves its core to them.
    """
    return None if sizes.actor_gpus else {"env_vars": {**KEEPING_WHAT_IS_FREED, "OMP_WAIT_POLICY": "PASSIVE"}}
