"""How many workers, how large a batch: decisions as pure arithmetic on what the cluster has."""

import math
from dataclasses import dataclass

from pipeline.extract.request import RunOptions
from pipeline.records.resources import Hardware

_CPU_BATCH = 32
_GPU_BATCH = 256
# A model actor on a CPU-only node asks Ray for this much, so that decoding can be scheduled beside it; how much it
# uses is up to the operating system. It must differ from what decoding asks for, or Ray fuses both into one task.
_CPU_ACTOR_CPUS = 0.45
_COMMIT_CPUS = 0.01
# Decode tasks ask for this share of the CPUs in all, and their number is capped beside. Ray Data keeps so much back
# for the stages behind (its operators' reservations) that of two tasks of 0.5 on 2 CPUs one waits, and of 0.25 none.
_DECODE_SHARE = 0.25
# For commits, and for the actor that counts.
_SPARE_CPUS = 0.05
_LEAST_TASK_S = 2.0
_TASK_S = 60.0
_TASKS_PER_WORKER = 8
_FILE_EVERY_S = 20.0
_FILES_PER_RUN = 8
_MOST_ROWS_PER_FILE = 16_384
_MOST_SEGMENTS_PER_FILE = 4_096
_MOST_BYTES_BESIDE = 64 << 20
_MOST_SEGMENTS_PER_CALL = 4_096
_CALLS_PER_ACTOR = 8
# Each call of the model and each decode task cost the driver milliseconds. A large archive therefore has fewer of them,
# of more segments each, but still so many for an actor or a worker that the first and the last do not matter.
_SAMPLES_PER_LARGE_CALL = 2_048
_LARGE_TASK_S = 180.0
_LARGE_PER_WORKER = 64
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
    """The shape of one run."""

    decode_workers: int
    """Decode tasks at once. Where ``--decode-workers`` asks for fewer than the CPUs could run, only a cap on tasks
    keeps to it: what one task asks for cannot exceed a node.
    """
    decode_cpus: float
    """What each decode task asks Ray for; never what an actor or a commit asks for, or Ray fuses them into one task."""
    num_actors: int
    actor_cpus: float
    actor_gpus: float
    """Below 1 where several actors share a GPU."""
    actor_threads: int | None
    """Torch threads of a model actor; ``None``: on a GPU, torch's own choice."""
    batch_size: int
    segments_per_call: int
    segments_per_file: int
    task_s: float
    """Target decoding time of one task."""
    commit_cpus: float = _COMMIT_CPUS


def choose_sizes(hardware: Hardware, work: Work, options: RunOptions, *, beside_bytes: int = 0) -> Sizes:
    """Sizes for a run: what the options say, and the rest from the cluster and the work.

    ``beside_bytes`` are made of each sample beside its features, and held until a file is full.

    Together they never ask for more CPUs or GPUs than there are: Ray would wait for them for ever.
    """
    is_on_gpu = hardware.num_gpus > 0
    num_cpus = max(1, hardware.num_cpus)
    num_actors = options.gpu_actors or (hardware.num_gpus if is_on_gpu else max(1, hardware.num_nodes))
    actor_cpus = 0.0 if is_on_gpu else max(_LEAST, _floor(_CPU_ACTOR_CPUS * min(1.0, num_cpus / (2 * num_actors))))
    free_cpus = num_cpus - num_actors * actor_cpus - _SPARE_CPUS
    decode_workers = min(options.decode_workers or num_cpus, int(free_cpus / (4 * _LEAST)))
    decode_cpus = min(_DECODE_SHARE, min(_DECODE_SHARE * num_cpus, free_cpus) / decode_workers)
    batch_size = options.batch_size or (_GPU_BATCH if is_on_gpu else _CPU_BATCH)
    return Sizes(
        decode_workers=decode_workers,
        decode_cpus=_apart(_floor(decode_cpus), others=(actor_cpus, _COMMIT_CPUS)),
        num_actors=num_actors,
        actor_cpus=actor_cpus,
        actor_gpus=_floor(1 / -(-num_actors // hardware.num_gpus)) if is_on_gpu else 0.0,
        actor_threads=None if is_on_gpu else max(1, num_cpus // num_actors),
        batch_size=batch_size,
        segments_per_call=_segments_per_call(work, batch_size=batch_size, num_actors=num_actors),
        segments_per_file=_segments_per_file(
            work, rows=options.rows_per_file, decode_workers=decode_workers, row_bytes=beside_bytes
        ),
        task_s=_task_s(work.cost_s / decode_workers),
    )


def _task_s(worker_s: float) -> float:
    """The decoding time of a task, where a worker has ``worker_s`` CPU seconds of it in all.

    Long enough that starting it does not matter, short enough that all workers end at about the same time.
    """
    usual = min(worker_s / _TASKS_PER_WORKER, _TASK_S)
    large = min(worker_s / _LARGE_PER_WORKER, _LARGE_TASK_S)
    return max(_LEAST_TASK_S, usual, large)


def _segments_per_call(work: Work, *, batch_size: int, num_actors: int) -> int:
    """Enough samples that padding the last batch costs little, but not all of a small job in its last call."""
    per_segment = _samples_per_segment(work)
    enough = round(4 * batch_size / per_segment)
    share = work.num_segments // (_CALLS_PER_ACTOR * num_actors)
    large = round(_SAMPLES_PER_LARGE_CALL / per_segment)
    large_share = work.num_segments // (_LARGE_PER_WORKER * num_actors)
    least = max(1, math.ceil(batch_size / per_segment))
    return min(max(least, min(enough, share), min(large, large_share)), _MOST_SEGMENTS_PER_CALL)


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


def _apart(cpus: float, *, others: tuple[float, ...]) -> float:
    """At most ``cpus``, and none of ``others``."""
    while any(abs(cpus - other) < _LEAST / 2 for other in others):
        cpus = round(cpus - _LEAST, 4)
    return cpus
