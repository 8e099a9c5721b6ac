"""What ``finetune`` was asked for, once its words are understood."""

import dataclasses
import os
from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.errors import UsageError
from pipeline.media.sampling.rule import SamplingRule
from pipeline.records.documents import Document
from pipeline.records.resources import Hardware
from pipeline.training.request import LabelOptions, SplitOptions

Trained = Literal["all", "head"]
TRAINED: tuple[Trained, ...] = get_args(Trained)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningOptions:
    """How the network learns: all of it decides what it will have learned."""

    train: Trained = "all"
    """``head``: the last layer alone."""
    epochs: int = 10
    batch_size: int = 16
    """Pictures that a worker sees at once."""
    learning_rate: float = 0.001
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneRequest:
    """One ``vidlake finetune``, as it was parsed."""

    inputs: tuple[str, ...]
    labels: str
    out: str
    model: str
    weights: str
    """``default`` stands for the library's or, where it has none, for random ones of the seed."""
    rule: SamplingRule
    learning: LearningOptions
    workers: int | None
    """``None``: one a GPU, or one on CPUs."""
    address: str | None

    def settings(self, *, labels_digest: str) -> Document:
        """What a folder is made by, under the names that a user knows: another command into it is refused."""
        learning = dataclasses.asdict(self.learning)
        return {
            "INPUT": list(self.inputs),
            "--model": self.model,
            "--weights": self.weights,
            "--sample": str(self.rule),
            **{f"--{name.replace('_', '-')}": value for name, value in learning.items()},
            "the digest of --labels": labels_digest,
        }

    def check_workers(self) -> None:
        """Refuse what no cluster on this machine can be, before one is started.

        Raises:
            UsageError: there are more workers than CPUs, and so than GPUs.
        """
        num_cpus = len(os.sched_getaffinity(0))
        if self.address is None and (self.workers or 1) > num_cpus:
            raise _too_many(self.workers or 1, f"this machine has {num_cpus} CPUs")

    def workers_on(self, hardware: Hardware) -> "Workers":
        """How many there will be, and on what.

        Raises:
            UsageError: there are more than GPUs or, where there is none, than CPUs.
        """
        is_on_gpu = hardware.num_gpus > 0
        count = self.workers or max(1, hardware.num_gpus)
        workers = Workers(count=count, is_on_gpu=is_on_gpu)
        if count > (hardware.num_gpus if is_on_gpu else hardware.num_cpus):
            what = f"{hardware.num_gpus} GPUs" if is_on_gpu else f"{hardware.num_cpus} CPUs"
            raise _too_many(count, f"the cluster has {what}")
        return workers

    @property
    def label_options(self) -> LabelOptions:
        """Where the labels are from."""
        return LabelOptions(file=self.labels, column="label")

    @property
    def split_options(self) -> SplitOptions:
        """How parts are drawn, where the labels do not say."""
        return SplitOptions(seed=self.learning.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Those that train, each on a device of its own."""

    count: int
    is_on_gpu: bool

    def __str__(self) -> str:
        device = "GPU" if self.is_on_gpu else "CPU"
        return f"one worker on a {device}" if self.count == 1 else f"{self.count} workers, each on a {device}"


def _too_many(workers: int, what: str) -> UsageError:
    return UsageError(f"--workers {workers}: {what}, and a worker needs one of its own; ask for fewer")
