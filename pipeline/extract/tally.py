"""What a run did: busy times and counts of every worker, gathered while it runs, written down when it ends."""

import os
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

StageName = Literal["plan", "decode", "embed", "commit"]
# Work with less than this between is one stretch: a report of a day's run stays small.
_SAME_STRETCH_S = 1.0
_BUSY = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """One piece of work of one worker; times are seconds since the Unix epoch."""

    stage: StageName
    worker: str
    began: float
    ended: float
    num_videos: int = 0
    num_segments: int = 0
    num_samples: int = 0
    video_s: float = 0.0
    num_bytes: int = 0
    """Of what it handed on: model inputs, features, files."""
    private_bytes: int = 0


@dataclass(slots=True)
class _Worker:
    stretches: list[list[float]] = field(default_factory=list)
    busy_s: float = 0.0
    private_bytes: int = 0


class Tally:
    """Adds up what workers did. Lives in an actor of its own; nothing waits for it."""

    def __init__(self) -> None:
        self._totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._workers: dict[str, dict[str, _Worker]] = defaultdict(lambda: defaultdict(_Worker))

    def add(self, worked: Worked) -> None:
        """Count in one piece of work."""
        totals = self._totals[worked.stage]
        for name in ("num_videos", "num_segments", "num_samples", "video_s", "num_bytes"):
            totals[name] += getattr(worked, name)
        worker = self._workers[worked.stage][worked.worker]
        worker.busy_s += worked.ended - worked.began
        worker.private_bytes = max(worker.private_bytes, worked.private_bytes)
        last = worker.stretches[-1] if worker.stretches else None
        if last is not None and worked.began - last[1] < _SAME_STRETCH_S:
            last[:] = min(worked.began, last[0]), max(worked.ended, last[1])
        else:
            worker.stretches.append([worked.began, worked.ended])

    def progress(self) -> dict[str, dict[str, float]]:
        """Totals of each stage, with its workers' busy seconds in all: small, to be asked for every second."""
        return {
            stage: {**totals, "busy_s": sum(worker.busy_s for worker in self._workers[stage].values())}
            for stage, totals in self._totals.items()
        }

    def snapshot(self) -> dict[str, Any]:
        """Totals and workers of each stage, as plain values."""
        return {
            stage: {
                **totals,
                "workers": {name: asdict(worker) for name, worker in self._workers[stage].items()},
            }
            for stage, totals in self._totals.items()
        }


def this_worker() -> str:
    """A name for this process, unique in the cluster."""
    return f"{os.uname().nodename}:{os.getpid()}"


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


def bottleneck(progress: dict[str, dict[str, float]], *, elapsed_s: float, num_actors: int) -> str | None:
    """The stage that holds the others up: the model where its actors are nearly always busy, else decoding."""
    if "decode" not in progress or elapsed_s <= 0:
        return None
    model_busy_s = progress.get("embed", {}).get("busy_s", 0.0)
    return "model" if model_busy_s / (elapsed_s * max(1, num_actors)) > _BUSY else "decode"
