"""The training on a Ray cluster: as many workers as were asked for, in step, begun again where one of them dies.

Ray Train's own checkpoints are not used: a worker that dies may leave half of one, and what it calls a restored run has
loaded nothing. The loop publishes and loads its own.
"""

import os
import tempfile
import threading
from collections.abc import Callable
from typing import Any, cast

import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer, get_device, prepare_model

from pipeline.cluster.memory import KEEPING_WHAT_IS_FREED
from pipeline.cluster.ray_internals import raised_in_training
from pipeline.cluster.start import cause_of
from pipeline.errors import PipelineError
from pipeline.training.finetune.loop import Scored, Training, TrainingJob, Worker, new_network
from pipeline.training.finetune.request import Workers

_RETRIES = 3
"""How often workers that died are replaced."""
_IN_STEP_WITHIN_S = 7200
"""The first worker measures while the others wait for it."""
_LOOK_EVERY_S = 0.5
_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how long after its end a training is known to have ended
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # a ``module:factory`` lies where the command was called
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",  # a busy machine takes a minute to import torch several times
}


def train_on_cluster(job: TrainingJob, *, workers: Workers, look: Callable[[], None]) -> Scored:
    """Train on the cluster that this process has joined.

    Args:
        job: what the workers are given.
        workers: how many of them, and on what.
        look: called twice a second while it goes on.

    Raises:
        RunError: it failed, and can be resumed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    with tempfile.TemporaryDirectory(prefix="vidlake-train-") as folder:
        trainer = cast(Any, TorchTrainer)(
            _train,
            train_loop_config={"job": job},
            torch_config=TorchConfig(timeout_s=_IN_STEP_WITHIN_S),
            scaling_config=ScalingConfig(num_workers=workers.count, use_gpu=workers.is_on_gpu),
            run_config=cast(Any, RunConfig)(
                storage_path=folder,  # Ray writes there that it could
                failure_config=FailureConfig(max_failures=_RETRIES),
                worker_runtime_env={} if workers.is_on_gpu else {"env_vars": KEEPING_WHAT_IS_FREED},
            ),
        )
        return _followed(trainer, look=look)


class _Fit(threading.Thread):
    """A trainer at work in a thread: in the main one it would take Ctrl-C for itself."""

    def __init__(self, trainer: TorchTrainer) -> None:
        super().__init__(name="training", daemon=True)
        self._trainer = trainer
        self._scored: Scored | None = None
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._scored = cast(Any, self._trainer.fit()).return_value
        except Exception as error:  # noqa: BLE001  whatever it is, it is raised where the result is waited for
            self._error = error

    def result(self) -> Scored:
        """What the first worker returned; raises what the training raised."""
        if self._error is not None:
            raise self._error
        assert self._scored is not None
        return self._scored


def _followed(trainer: TorchTrainer, *, look: Callable[[], None]) -> Scored:
    fit = _Fit(trainer)
    fit.start()
    while fit.is_alive():
        fit.join(_LOOK_EVERY_S)
        look()
    try:
        return fit.result()
    except TrainingFailedError as error:
        raise cause_of_failed_training(error) from None


def cause_of_failed_training(error: Exception) -> PipelineError:
    """What went wrong in a worker: of several, a fault of ours rather than what the others made of it."""
    failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
    causes = [cause_of(raised_in_training(failure)) for failure in failures]
    return min(causes, key=lambda cause: str(cause).startswith("the run failed in Ray"))


def _train(config: dict[str, Any]) -> Scored | None:
    """What each worker runs."""
    job: TrainingJob = config["job"]
    context = ray.train.get_context()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // context.get_local_world_size()))
    network = new_network(job.plan).to(memory_format=torch.channels_last)
    in_step = prepare_model(network, parallel_strategy_kwargs={"find_unused_parameters": True})
    worker = Worker(
        rank=context.get_world_rank(),
        num_workers=context.get_world_size(),
        device=get_device(),
        network=network,
        in_step=in_step,
    )
    return Training(job, worker).run()
