"""What a run did: busy times and counts of every worker, gathered while it runs, written down as it goes."""

import os
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, Protocol

StageName = Literal["plan", "decode", "embed", "commit"]
# Work with less than this between is one stretch: a report of a day's run stays small.
_SAME_STRETCH_S = 1.0
_BUSY = 0.8


def this_worker() -> str:
    """A name for this process, unique in the cluster."""
    return f"{os.uname().nodename}:{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much was done."""

    num_videos: int = 0
    num_segments: int = 0
    num_samples: int = 0
    video_s: float = 0.0
    num_bytes: int = 0
    """Of what was handed on: model inputs, features, files."""
    decoded_frames: int = 0
    """That came out of the decoder, samples or not."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            num_videos=self.num_videos + other.num_videos,
            num_segments=self.num_segments + other.num_segments,
            num_samples=self.num_samples + other.num_samples,
            video_s=self.video_s + other.video_s,
            num_bytes=self.num_bytes + other.num_bytes,
            decoded_frames=self.decoded_frames + other.decoded_frames,
        )

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(**{each.name: getattr(self, each.name) - getattr(other, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """One piece of work of one worker; times are seconds since the Unix epoch."""

    stage: StageName
    began: float
    counts: Counts = Counts()
    private_bytes: int = 0
    ended: float = field(default_factory=time.time)
    worker: str = field(default_factory=this_worker)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReport:
    """When one worker was at work, and the most memory that it had for itself."""

    stretches: tuple[tuple[float, float], ...]
    """Each from when to when, in seconds since the Unix epoch."""
    busy_s: float
    private_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """What all workers of one stage did so far."""

    counts: Counts = Counts()
    busy_s: float = 0.0
    """Of all workers together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """What one stage did, with each of its workers by its name."""

    counts: Counts
    workers: dict[str, WorkerReport]

    def to_json(self) -> dict[str, object]:
        """A part of the run's report."""
        workers = {name: asdict(worker) for name, worker in self.workers.items()}
        return {**asdict(self.counts), "workers": workers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far each stage has come: small, to be asked for every second."""

    plan: StageProgress = StageProgress()
    decode: StageProgress = StageProgress()
    embed: StageProgress = StageProgress()
    commit: StageProgress = StageProgress()


StageReports = dict[StageName, StageReport]
"""Of those stages that have done something."""


def counts_of(stages: StageReports, stage: StageName) -> Counts:
    """How much a stage did."""
    return stages[stage].counts if stage in stages else Counts()


class Tally(Protocol):
    """Adds up what workers did. Copies of one add to the same totals, on whatever node."""

    def add(self, worked: Worked) -> None:
        """Count in one piece of work, without waiting."""

    def progress(self) -> Progress:
        """The totals so far."""

    def reports(self, *, within_s: float) -> StageReports:
        """The totals so far, and of each worker.

        Raises:
            RunError: the tally does not answer in this time.
        """


@dataclass(slots=True)
class _Worker:
    stretches: list[list[float]] = field(default_factory=list)
    busy_s: float = 0.0
    last_piece: tuple[float, float] = (0.0, 0.0)
    private_bytes: int = 0

    def add(self, worked: Worked) -> None:
        began, ended = self.last_piece  # one that holds a model computes several pieces at once
        overlap_s = max(0.0, min(worked.ended, ended) - max(worked.began, began))
        self.last_piece = worked.began, max(worked.ended, ended) if overlap_s else worked.ended
        self.busy_s += worked.ended - worked.began - overlap_s
        self.private_bytes = max(self.private_bytes, worked.private_bytes)
        last = self.stretches[-1] if self.stretches else None
        if last is not None and worked.began - last[1] < _SAME_STRETCH_S:
            last[:] = min(worked.began, last[0]), max(worked.ended, last[1])
        else:
            self.stretches.append([worked.began, worked.ended])

    def report(self) -> WorkerReport:
        stretches = tuple((began, ended) for began, ended in self.stretches)
        return WorkerReport(stretches=stretches, busy_s=self.busy_s, private_bytes=self.private_bytes)


class LocalTally:
    """A tally in this process."""

    def __init__(self) -> None:
        self._counts: dict[StageName, Counts] = defaultdict(Counts)
        self._workers: dict[StageName, dict[str, _Worker]] = defaultdict(lambda: defaultdict(_Worker))

    def add(self, worked: Worked) -> None:
        """Count in one piece of work."""
        self._counts[worked.stage] += worked.counts
        self._workers[worked.stage][worked.worker].add(worked)

    def progress(self) -> Progress:
        """The totals so far, with the workers' busy seconds in all."""
        stages = {
            stage: StageProgress(counts=counts, busy_s=sum(each.busy_s for each in self._workers[stage].values()))
            for stage, counts in self._counts.items()
        }
        return Progress(**stages)

    def reports(self, *, within_s: float = 0.0) -> StageReports:
        """The totals so far, and of each worker, at once."""
        return {
            stage: StageReport(
                counts=counts, workers={name: worker.report() for name, worker in self._workers[stage].items()}
            )
            for stage, counts in self._counts.items()
        }


def private_bytes(*pids: int | None) -> int:
    """Memory that these processes share with no other (Private_Dirty), in all."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as lines:
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty:"))
        except OSError:
            continue
    return total


def bottleneck(progress: Progress, *, elapsed_s: float, num_actors: int) -> str | None:
    """The stage that holds the others up: the model where its actors are nearly always busy, else decoding."""
    if not progress.decode.busy_s or elapsed_s <= 0:
        return None
    return "model" if progress.embed.busy_s / (elapsed_s * max(1, num_actors)) > _BUSY else "decode"
