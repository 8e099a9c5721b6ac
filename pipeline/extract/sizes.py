"""How many workers, how large a batch: decisions as pure arithmetic on what the cluster has."""

import math
from dataclasses import dataclass

from pipeline.extract.request import RunOptions
from pipeline.records.resources import Hardware

_CPU_BATCH = 32
_GPU_BATCH = 256
# What a decode task takes, and asks Ray for: a node then gets no more of them than it has cores and memory for, and an
# autoscaler sees how many nodes are wanted. What else runs on the CPUs (planning, commits, models where there is no
# GPU) asks for none, and is capped by number.
_DECODE_CPUS = 1.0
_DECODE_MEMORY_BYTES = 500_000_000
_LEAST_PLAN_WORKERS = 2
_LEAST_COMMITS_AT_ONCE = 2
_LEAST_TASK_S = 0.2
TASK_S = 60.0
"""Decoding that a task is at most to have, where a segment is not more by itself."""
_TASKS_PER_WORKER = 8
# Ray Data takes 0.2 s from the end of a task to the start of the next. Where tasks are shorter than this, as many wait
# at Ray, which starts them at once; but not where --decode-workers is what limits them, for Ray does not know of that.
_SHORT_TASK_S = 10.0
_FILE_EVERY_S = 20.0
_FILES_PER_RUN = 8
_MOST_ROWS_PER_FILE = 16_384
_MOST_SEGMENTS_PER_FILE = 4_096
_MOST_BYTES_BESIDE = 64 << 20
# On a CPU the threads that compute a batch wait for each other after each layer, and so for the one whose core a
# decoder has. Batches do not wait for each other; but each of them holds intermediate results of its own.
_MOST_BATCHES_AT_ONCE = 4
# So many that a last batch which is not full costs little; on a CPU no more, for the first rows are to come early.
_CPU_BATCHES_PER_CALL = 4
_GPU_BATCHES_PER_CALL = 16
# The least that Ray takes apart is a ten-thousandth of a CPU or GPU.
_LEAST = 0.0001


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is left to do, as planned."""

    num_segments: int
    num_samples: int
    cost_s: float
    """Decoding, on one core."""
    video_s: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(
            num_segments=self.num_segments + other.num_segments,
            num_samples=self.num_samples + other.num_samples,
            cost_s=self.cost_s + other.cost_s,
            video_s=self.video_s + other.video_s,
        )


NO_WORK = Work(num_segments=0, num_samples=0, cost_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The shape of one run, or of one wave of it."""

    decode_workers: int
    """Decode tasks at once. Where ``--decode-workers`` asks for fewer than the CPUs could run, only a cap on tasks
    keeps to it: what one task asks for cannot exceed a node.
    """
    decode_tasks: int
    """Decode tasks that Ray has at once: those that run, and where tasks are short as many that wait for a CPU."""
    plan_workers: int
    """Planning tasks at once."""
    num_actors: int
    actor_gpus: float
    """Below 1 where several actors share a GPU."""
    batches_at_once: int
    """Batches that an actor computes at once."""
    actor_threads: int | None
    """Torch threads of each of them; ``None``: on a GPU, torch's own choice."""
    batch_size: int
    samples_per_call: int
    """That a decode task hands to a model at a time, or a few more: a call is of whole segments. Calls that wait are
    joined to so many.
    """
    segments_per_file: int
    task_s: float
    """Target decoding time of one task."""
    commits_at_once: int
    decode_cpus: float = _DECODE_CPUS
    decode_memory_bytes: int = _DECODE_MEMORY_BYTES


def choose_sizes(
    hardware: Hardware, work: Work, options: RunOptions, *, so_far: Work | None = None, beside_bytes: int = 0
) -> Sizes:
    """Sizes for a run, or for a wave of it: what the options say, and the rest from the cluster and the work.

    ``so_far``: all that is known to be done in the run, this wave included. Files grow with it; tasks are a part
    of the wave, which all workers are to end at about the same time. ``beside_bytes`` are made of each sample
    beside its features, and held until a file is full.
    """
    is_on_gpu = hardware.num_gpus > 0
    num_cpus, so_far = max(1, hardware.num_cpus), so_far or work
    num_actors = options.gpu_actors or (hardware.num_gpus if is_on_gpu else max(1, hardware.num_nodes))
    decode_workers = min(options.decode_workers or num_cpus, num_cpus)
    batch_size = options.batch_size or (_GPU_BATCH if is_on_gpu else _CPU_BATCH)
    threads = max(1, num_cpus // num_actors)
    batches_at_once = 1 if is_on_gpu else min(threads, _MOST_BATCHES_AT_ONCE)
    task_s = _task_s(work.cost_s / decode_workers)
    waits = task_s < _SHORT_TASK_S and options.decode_workers is None
    return Sizes(
        decode_workers=decode_workers,
        decode_tasks=2 * decode_workers if waits else decode_workers,
        plan_workers=max(_LEAST_PLAN_WORKERS, num_cpus // 2),
        num_actors=num_actors,
        actor_gpus=_floor(1 / -(-num_actors // hardware.num_gpus)) if is_on_gpu else 0.0,
        batches_at_once=batches_at_once,
        actor_threads=None if is_on_gpu else threads // batches_at_once,
        batch_size=batch_size,
        samples_per_call=batch_size * (_GPU_BATCHES_PER_CALL if is_on_gpu else _CPU_BATCHES_PER_CALL),
        segments_per_file=_segments_per_file(
            so_far, rows=options.rows_per_file, decode_workers=decode_workers, row_bytes=beside_bytes
        ),
        task_s=task_s,
        commits_at_once=max(_LEAST_COMMITS_AT_ONCE, num_actors),
    )


def _task_s(worker_s: float) -> float:
    """The decoding time of a task, where a worker has ``worker_s`` CPU seconds of it in all.

    Long enough that starting it does not matter, short enough that all workers end at about the same time.
    """
    return max(_LEAST_TASK_S, min(worker_s / _TASKS_PER_WORKER, TASK_S))


def _segments_per_file(work: Work, *, rows: int | None, decode_workers: int, row_bytes: int) -> int:
    """Few enough that a killed run loses little and a small job's first rows come early.

    In a large job so many that a file has some thousands of rows, as readers like it.
    """
    per_segment = _samples_per_segment(work)
    if rows is not None:
        return max(1, min(round(rows / per_segment), _MOST_SEGMENTS_PER_FILE))
    in_time = decode_workers * _FILE_EVERY_S * work.num_segments / max(work.cost_s, 0.001)
    share = work.num_segments / _FILES_PER_RUN
    most_rows = min(_MOST_ROWS_PER_FILE, _MOST_BYTES_BESIDE / max(1, row_bytes))
    return max(1, round(min(in_time, share, most_rows / per_segment, _MOST_SEGMENTS_PER_FILE)))


def _samples_per_segment(work: Work) -> float:
    return max(1.0, work.num_samples / max(1, work.num_segments))


def _floor(share: float) -> float:
    return math.floor(share / _LEAST + 1e-6) / round(1 / _LEAST)
