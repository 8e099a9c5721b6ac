"""The tally of a run on a cluster: one actor adds up what the workers of all nodes did."""

from typing import Any, cast

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.errors import RunError
from pipeline.extract.tally import LocalTally, Progress, StageReports, Worked


class SharedTally:
    """A tally in an actor of its own, which takes no resources; copies of this all add to the same one."""

    def __init__(self) -> None:
        """Start the actor, on the driver's own node: no other node that is lost takes the counts along."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
        self._actor: Any = cast(Any, ray).remote(**options)(LocalTally).remote()

    def add(self, worked: Worked) -> None:
        """Count in one piece of work, without waiting for the actor."""
        self._actor.add.remote(worked)

    def progress(self) -> Progress:
        """The totals so far, of each stage."""
        progress: Progress = ray.get(self._actor.progress.remote())
        return progress

    def reports(self, *, within_s: float) -> StageReports:
        """The totals so far, and of each worker.

        Raises:
            RunError: the cluster does not answer in this time.
        """
        try:
            reports: StageReports = ray.get(self._actor.reports.remote(), timeout=within_s)
        except RayError as error:
            raise RunError(f"the cluster does not say what was done: {type(error).__name__}") from None
        return reports
