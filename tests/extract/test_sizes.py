"""Sizes for any cluster: never more than it has, and such that what Ray is told is what a run takes."""

from fractions import Fraction

import pytest

from pipeline.extract.request import RunOptions
from pipeline.extract.sizes import Sizes, Work, choose_sizes
from pipeline.records.resources import Hardware

NOTHING = Work(num_segments=0, num_samples=0, cost_s=0)
SIX_MINUTES = Work(num_segments=12, num_samples=360, cost_s=10)
HOUR = Work(num_segments=120, num_samples=3600, cost_s=200)
ARCHIVE = Work(num_segments=1_000_000, num_samples=36_000_000, cost_s=2_000_000)
MACHINES = [
    pytest.param(Hardware(num_cpus=1, num_gpus=0, num_nodes=1), id="one-cpu"),
    pytest.param(Hardware(num_cpus=2, num_gpus=0, num_nodes=1), id="two-cpus"),
    pytest.param(Hardware(num_cpus=4, num_gpus=1, num_nodes=1), id="one-gpu"),
    pytest.param(Hardware(num_cpus=64, num_gpus=8, num_nodes=1), id="eight-gpus"),
    pytest.param(Hardware(num_cpus=96, num_gpus=0, num_nodes=12), id="twelve-nodes"),
]
OPTIONS = [
    pytest.param(RunOptions(), id="chosen"),
    pytest.param(RunOptions(decode_workers=1, gpu_actors=1, batch_size=1, rows_per_file=1), id="least"),
    pytest.param(RunOptions(decode_workers=10**6, gpu_actors=500, batch_size=10**6, rows_per_file=10**9), id="huge"),
    pytest.param(RunOptions(decode_workers=3, gpu_actors=7), id="odd"),
]


@pytest.mark.parametrize("work", [NOTHING, HOUR, ARCHIVE], ids=["nothing", "hour", "archive"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("hardware", MACHINES)
def test_a_run_never_asks_for_more_than_there_is(hardware: Hardware, options: RunOptions, work: Work) -> None:
    sizes = choose_sizes(hardware, work, options)
    assert sizes.decode_workers * sizes.decode_cpus <= hardware.num_cpus
    if hardware.num_gpus:
        share = Fraction(round(sizes.actor_gpus * 10_000), 10_000)
        assert 0 < share <= 1
        assert round(sizes.actor_gpus, 4) == sizes.actor_gpus, "Ray knows ten-thousandths"
        assert sizes.num_actors <= hardware.num_gpus * int(1 / share)
    assert min(sizes.decode_workers, sizes.plan_workers, sizes.num_actors, sizes.batch_size) >= 1
    assert sizes.samples_per_call >= sizes.batch_size
    assert 1 <= sizes.segments_per_file <= 4096
    assert 0.2 <= sizes.task_s <= 60


def test_a_decode_task_asks_for_what_it_takes() -> None:
    """So that a node gets no more of them than it has cores and memory for, and an autoscaler sees what is wanted."""
    sizes = choose_sizes(Hardware(num_cpus=96, num_gpus=0, num_nodes=12), ARCHIVE, RunOptions())
    assert (sizes.decode_cpus, sizes.decode_memory_bytes, sizes.decode_workers) == (1, 500_000_000, 96)
    assert sizes.num_actors == 12


@pytest.mark.parametrize(
    ("hardware", "batches_at_once", "threads"),
    [
        pytest.param(Hardware(num_cpus=1, num_gpus=0, num_nodes=1), 1, 1, id="one-core"),
        pytest.param(Hardware(num_cpus=2, num_gpus=0, num_nodes=1), 2, 1, id="a-core-for-each-batch"),
        pytest.param(Hardware(num_cpus=64, num_gpus=0, num_nodes=1), 4, 16, id="memory-for-few"),
        pytest.param(Hardware(num_cpus=96, num_gpus=0, num_nodes=12), 4, 2, id="of-each-node"),
        pytest.param(Hardware(num_cpus=16, num_gpus=1, num_nodes=1), 1, None, id="a-GPU-takes-turns"),
    ],
)
def test_what_a_model_computes_at_once(hardware: Hardware, batches_at_once: int, threads: int | None) -> None:
    sizes = choose_sizes(hardware, ARCHIVE, RunOptions())
    assert (sizes.batches_at_once, sizes.actor_threads) == (batches_at_once, threads)


@pytest.mark.parametrize(
    ("options", "work", "decode_tasks"),
    [
        pytest.param(RunOptions(), SIX_MINUTES, 4, id="short-ones-wait-at-Ray-for-a-CPU"),
        pytest.param(RunOptions(), ARCHIVE, 2, id="long-ones-need-not"),
        pytest.param(RunOptions(decode_workers=1), SIX_MINUTES, 1, id="capped-ones-may-not-for-Ray-would-run-them"),
    ],
)
def test_what_waits_at_ray(options: RunOptions, work: Work, decode_tasks: int) -> None:
    assert choose_sizes(Hardware(num_cpus=2, num_gpus=0, num_nodes=1), work, options).decode_tasks == decode_tasks


def on_two_cpus(work: Work, options: RunOptions = RunOptions()) -> Sizes:  # noqa: B008 (frozen)
    return choose_sizes(Hardware(num_cpus=2, num_gpus=0, num_nodes=1), work, options)


def test_options_win() -> None:
    options = RunOptions(decode_workers=1, gpu_actors=2, batch_size=8, rows_per_file=300)
    sizes = on_two_cpus(HOUR, options)
    assert (sizes.decode_workers, sizes.num_actors, sizes.batch_size, sizes.segments_per_file) == (1, 2, 8, 10)


def test_a_file_holds_some_seconds_of_work_and_never_too_many_rows() -> None:
    two_hours = Work(num_segments=240, num_samples=7200, cost_s=400)
    assert on_two_cpus(two_hours).segments_per_file == 24  # 20 s of two workers, at 400 s for 240 segments
    assert on_two_cpus(Work(num_segments=10**6, num_samples=36 * 10**6, cost_s=10**4)).segments_per_file == 455
    assert on_two_cpus(Work(num_segments=100, num_samples=0, cost_s=1000)).segments_per_file == 4


def test_the_first_rows_of_a_small_job_do_not_wait_for_its_last() -> None:
    assert on_two_cpus(HOUR).segments_per_file == 15
    assert on_two_cpus(Work(num_segments=12, num_samples=360, cost_s=20)).segments_per_file == 2
    assert on_two_cpus(Work(num_segments=1, num_samples=360, cost_s=20)).segments_per_file == 1


def test_a_call_is_of_some_batches_whatever_the_job() -> None:
    assert on_two_cpus(HOUR).samples_per_call == on_two_cpus(ARCHIVE).samples_per_call == 4 * 32
    assert (
        choose_sizes(Hardware(num_cpus=64, num_gpus=8, num_nodes=1), ARCHIVE, RunOptions()).samples_per_call == 16 * 256
    )


def test_tasks_grow_with_the_wave_from_one_video_to_a_minute() -> None:
    assert on_two_cpus(Work(num_segments=10, num_samples=300, cost_s=3)).task_s == 0.2
    assert on_two_cpus(HOUR).task_s == 12.5
    assert on_two_cpus(ARCHIVE).task_s == 60


def test_files_grow_with_the_run_where_its_waves_are_small() -> None:
    wave = Work(num_segments=12, num_samples=360, cost_s=20)
    sizes = choose_sizes(Hardware(num_cpus=2, num_gpus=0, num_nodes=1), wave, RunOptions(), so_far=HOUR)
    assert sizes.segments_per_file == on_two_cpus(HOUR).segments_per_file == 15
    assert sizes.task_s == on_two_cpus(wave).task_s


def test_gpus_are_shared_where_more_actors_are_asked_for() -> None:
    hardware = Hardware(num_cpus=64, num_gpus=8, num_nodes=1)
    assert choose_sizes(hardware, HOUR, RunOptions()).actor_gpus == 1
    assert choose_sizes(hardware, HOUR, RunOptions(gpu_actors=12)).actor_gpus == 0.5
