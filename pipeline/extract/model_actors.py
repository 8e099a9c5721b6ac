"""The actors that hold a run's models, from its first video to its last, whatever hands them samples meanwhile."""

import random
from collections.abc import Callable
from typing import Any, Protocol, cast

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.extract.context import RunContext
from pipeline.extract.sizes import Sizes

_CALLS_AT_ONCE = 2


class Model(Protocol):
    """What such an actor holds: see ``operators.Embed``."""

    def __call__(self, samples: pa.Table) -> pa.Table:
        """Decoded segments to the same segments with the features of each model."""


class Embedding:
    """One actor: it loads its models once, in its first call, so that why they do not load comes out as itself."""

    def __init__(self, make: Callable[[], Model]) -> None:
        self._make = make
        self._model: Model | None = None

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
        if self._model is None:
            self._model = self._make()
        return self._model


class ModelActors:
    """Actors that are started as this is made, and end when the last copy of it is gone.

    An actor that dies is started again elsewhere, and what it was at work on is done once more.
    """

    def __init__(self, context: RunContext, make: Callable[[], Model]) -> None:
        sizes = context.sizes
        options: dict[str, Any] = {
            "num_cpus": 0,
            "num_gpus": sizes.actor_gpus or None,
            "scheduling_strategy": "SPREAD",
            "max_restarts": -1,
            "max_task_retries": -1,
            "runtime_env": memory_of_actors(sizes),
        }
        self._num_nodes = context.hardware.num_nodes
        self._actors: list[Any] = [
            cast(Any, ray).remote(**options)(Embedding).remote(make) for _ in range(sizes.num_actors)
        ]
        self._places = [actor.node.remote() for actor in self._actors]
        for actor in self._actors:
            actor.load.remote()

    @property
    def num_calls(self) -> int:
        """How many calls at once keep all of them busy, while the next samples are on their way."""
        return _CALLS_AT_ONCE * len(self._actors)

    def beside_one(self) -> dict[str, Any]:
        """Where a task runs that hands samples to one of them: on the node of one, where that is still there."""
        nodes = [] if self._num_nodes == 1 else list(self._nodes())
        return {"scheduling_strategy": NodeAffinitySchedulingStrategy(random.choice(nodes), soft=True)} if nodes else {}

    def embed(self, samples: pa.Table) -> pa.Table:
        """Have one of them embed the samples of decoded segments: one on this node, if any."""
        here = ray.get_runtime_context().get_node_id()
        near = [] if self._num_nodes == 1 else self._nodes().get(here, [])
        features: pa.Table = ray.get(random.choice(near or self._actors).embed.remote(samples))
        return features

    def _nodes(self) -> dict[str, list[Any]]:
        """The nodes of those that have begun, each with its actors; one that was started again may be elsewhere."""
        begun, _ = ray.wait(self._places, num_returns=len(self._places), timeout=0)
        nodes: dict[str, list[Any]] = {}
        for place, actor in zip(self._places, self._actors, strict=True):
            if place in begun:
                nodes.setdefault(ray.get(place), []).append(actor)
        return nodes


def memory_of_actors(sizes: Sizes) -> dict[str, dict[str, str]] | None:
    """The environment of a process that holds a model: on a CPU, the model computes in memory that it had before."""
    return None if sizes.actor_gpus else {"env_vars": KEEPING_WHAT_IS_FREED}
