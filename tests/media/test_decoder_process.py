"""A decoder that is sound: what comes of it, what counts as its time, and what it shares with its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from sandboxes import BytesReader, extract, job
from videos import sequential, video_bytes

from pipeline.errors import (
    Changed,
    Crashed,
    InputError,
    PipelineError,
    StorageError,
    Unreadable,
)
from pipeline.media.process.messages import Ended
from pipeline.media.process.sandbox import Picture, Sandbox
from pipeline.models.preprocess import prepare, prepare_part
from pipeline.records.crops import part_within
from pipeline.records.model_info import Preprocessing
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Sizing

HANDS = "hostile_decoders"
BUSY = "while True: pass"
_TURNS = 20
VIDEO = video_bytes(num_frames=60)


@pytest.mark.parametrize("resize_px", [pytest.param(48, id="shorter side"), pytest.param((64, 50), id="both sides")])
@pytest.mark.parametrize(
    ("size", "rotation"),
    [
        pytest.param((160, 90), None, id="16:9"),
        pytest.param((160, 90), 90, id="turned"),
        pytest.param((160, 90), 180, id="upside-down"),
        pytest.param((98, 62), None, id="odd ratio"),
        pytest.param((32, 32), None, id="smaller than the crop"),
    ],
)
@pytest.mark.quick_one_in(3)
def test_the_part_that_travels_gives_each_model_the_same_input_as_the_whole(
    size: tuple[int, int], rotation: int | None, resize_px: int | tuple[int, int]
) -> None:
    video = video_bytes(num_frames=30, size=size, rotation=rotation)
    wanted = Preprocessing(resize_px=resize_px, crop_px=(40, 40))
    wider = Preprocessing(resize_px=64, crop_px=(64, 64), interpolation="bicubic")
    several = (wanted, wider)
    with Sandbox(DecodeLimits()) as sandbox:
        plan = sandbox.plan(BytesReader(video), job(), sizing=Sizing())
        wholes, parts, shared = (
            [
                (event.pixels.copy(), event.whole_px)
                for event in sandbox.decode(
                    BytesReader(video), job(), facts=plan.facts, segments=plan.segments, preprocessings=wishes
                )
                if isinstance(event, Picture)
            ]
            for wishes in ((), (wanted,), several)
        )

    assert len(parts) == len(shared) == len(wholes) == 6
    for (part, whole_px), (both, _), (whole, _) in zip(parts, shared, wholes, strict=True):
        assert whole_px == whole.shape[:2]
        assert part.size <= both.size <= whole.size
        assert np.array_equal(prepared(part, whole_px, wanted), prepare(whole, preprocessing=wanted))
        for each in several:
            inside = both[part_within(*whole_px, preprocessing=each, preprocessings=several)]
            assert np.array_equal(prepared(inside, whole_px, each), prepare(whole, preprocessing=each))


def prepared(part: NDArray[np.uint8], whole_px: tuple[int, int], wanted: Preprocessing) -> NDArray[np.uint8]:
    made = np.empty((*wanted.crop_px, 3), np.uint8)
    prepare_part(part, whole_px=whole_px, preprocessing=wanted, into=made)
    return made


def data_bytes(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmData")]
    return int(line.split()[1]) * 1024


def test_pictures_of_a_sound_video_arrive_in_order() -> None:
    with Sandbox(DecodeLimits()) as sandbox:
        outcome = extract(sandbox, BytesReader(VIDEO), "every:7")
    expected = [pixels for _, _, pixels in sequential(VIDEO)][::7]
    got = [pixels for pictures in outcome.pictures.values() for pixels in pictures]
    assert len(outcome.pictures) > 1
    assert np.array_equal(got, expected)
    assert [ended.failure for ended in outcome.ended] == [None] * len(outcome.ended)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_pictures() -> None:
    """Looking at a frame's side data keeps its memory until the cycle collector comes: 200 MB in 80 frames of 720p."""
    long = video_bytes("mpeg4", {"g": "12"}, num_frames=60, size=(1280, 720))
    with Sandbox(DecodeLimits()) as sandbox:
        extract(sandbox, BytesReader(VIDEO))
        before = data_bytes(sandbox.pid or 0)
        extract(sandbox, BytesReader(long), "all")
        assert data_bytes(sandbox.pid or 0) - before < 60 << 20


def test_video_after_a_killed_decoder_decodes() -> None:
    with Sandbox(DecodeLimits()) as sandbox:
        whole = extract(sandbox, BytesReader(VIDEO))
        os.kill(sandbox.pid or 0, signal.SIGKILL)
        with pytest.raises(Crashed):
            extract(sandbox, BytesReader(VIDEO))
        again = extract(sandbox, BytesReader(VIDEO))
    assert [len(p) for p in again.pictures.values()] == [len(p) for p in whole.pictures.values()]


def test_listener_that_stops_half_way_gets_a_new_decoder() -> None:
    with Sandbox(DecodeLimits()) as sandbox:
        reader = BytesReader(VIDEO)
        plan = sandbox.plan(reader, job(), sizing=Sizing())
        first = sandbox.pid
        events = sandbox.decode(reader, job(), facts=plan.facts, segments=plan.segments)
        next(events)
        cast(Generator[object, None, None], events).close()
        extract(sandbox, reader)
        assert sandbox.pid != first


def test_verdict_on_a_bad_video_keeps_the_decoder() -> None:
    with Sandbox(DecodeLimits()) as sandbox:
        extract(sandbox, BytesReader(VIDEO))
        first = sandbox.pid
        with pytest.raises(InputError):
            extract(sandbox, BytesReader(b"no video at all" * 100))
        extract(sandbox, BytesReader(VIDEO))
        assert sandbox.pid == first


def test_storage_slower_than_the_timeout_does_not_count() -> None:
    with Sandbox(DecodeLimits(timeout_s=1.0)) as sandbox:
        outcome = extract(sandbox, BytesReader(VIDEO, delay_s=0.3))
    assert all(ended.failure is None for ended in outcome.ended)


def test_core_that_other_work_holds_does_not_count() -> None:
    core = min(os.sched_getaffinity(0))
    with Sandbox(DecodeLimits(timeout_s=0.5)) as sandbox, subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        try:
            extract(sandbox, BytesReader(VIDEO))
            assert sandbox.pid is not None
            for pid in (sandbox.pid, busy.pid):
                os.sched_setaffinity(pid, {core})
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, sandbox.pid, 19)
            slowest_s, failures = 0.0, []
            for _ in range(_TURNS):  # how long the scheduler lets the other one work differs from turn to turn
                began = time.monotonic()
                outcome = extract(sandbox, BytesReader(VIDEO))
                slowest_s = max(slowest_s, time.monotonic() - began)
                failures += [ended.failure for ended in outcome.ended if ended.failure is not None]
                if slowest_s > 0.5:
                    break
        finally:
            busy.kill()
    assert slowest_s > 0.5, "the decoder was not held up, and nothing was tested"
    assert not failures


def test_listener_slower_than_the_timeout_does_not_count() -> None:
    with Sandbox(DecodeLimits(timeout_s=0.5)) as sandbox:
        reader = BytesReader(VIDEO)
        plan = sandbox.plan(reader, job(), sizing=Sizing(duration_s=0.8))
        for event in sandbox.decode(reader, job(), facts=plan.facts, segments=plan.segments):
            time.sleep(0.2)
            assert not isinstance(event, Ended) or event.failure is None


@pytest.mark.parametrize(
    "fault",
    [StorageError("the store is down"), Changed("memory.mp4", "replaced"), Unreadable("memory.mp4", "forbidden")],
    ids=["store-down", "replaced", "forbidden"],
)
@pytest.mark.parametrize("fails_from", [0, 2_000, 10_000], ids=["at-once", "early", "late"])
@pytest.mark.quick_one_in(4)
def test_storage_fault_is_raised_as_itself(fault: PipelineError, fails_from: int) -> None:
    with Sandbox(DecodeLimits()) as sandbox:
        reader = BytesReader(VIDEO)
        plan = sandbox.plan(reader, job("all"), sizing=Sizing())
        reader.fault, reader.fails_from = fault, fails_from
        with pytest.raises(type(fault)) as caught:
            list(sandbox.decode(reader, job("all"), facts=plan.facts, segments=plan.segments))
        assert caught.value is fault
        with pytest.raises(type(fault)):
            sandbox.plan(reader, job("all"), sizing=Sizing())
        assert extract(sandbox, BytesReader(VIDEO)).ended


def test_bug_in_a_reader_is_not_a_bad_video() -> None:
    reader = BytesReader(VIDEO)
    reader.fault = KeyError("bug")  # type: ignore[assignment]
    with Sandbox(DecodeLimits()) as sandbox, pytest.raises(KeyError, match="bug"):
        sandbox.plan(reader, job(), sizing=Sizing())


def test_frame_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with Sandbox(DecodeLimits(max_pixels=1000)) as sandbox, pytest.raises(InputError) as caught:
        extract(sandbox, BytesReader(VIDEO))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("work", ["video_work", "still_work"])
def test_decoder_imports_nothing_from_the_working_folder(work: str, tmp_path: Path) -> None:
    """Though its parent looks there first, as ``python -c`` and Ray's workers do."""
    names = sorted(f"{name}.py" for name in ("av", "numpy", "pipeline", "msgspec", "PIL", "socket", "sitecustomize"))
    for name in names:
        (tmp_path / name).write_text(f"open({str(tmp_path / 'was-here')!r}, 'w')")
    script = f"""
import os, sys
from pipeline.media.process.decoder_process import DecoderProcess
from pipeline.records.resources import DecodeLimits
sys.path[:0] = ["", os.getcwd()]
DecoderProcess("pipeline.media.process.{work}:serve", DecodeLimits()).kill()
"""
    subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, check=True, timeout=120)

    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.fixture(params=["hang_in_python", "hang_in_c"])
def orphan(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A parent with a decoder that hangs, and the decoder's process id."""
    script = f"""
import sys, threading, time
from pipeline.media.process.decoder_process import DecoderProcess
from pipeline.records.resources import DecodeLimits
def run():
    process = DecoderProcess({HANDS + ":" + request.param!r}, DecodeLimits())
    process.send(b"go", uri="x", timeout_s=1)
    print(process.pid, flush=True)
    time.sleep(3600)
threading.Thread(target=run).start()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    yield parent, int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()


def test_decoder_does_not_outlive_its_parent(orphan: tuple[subprocess.Popen[str], int]) -> None:
    parent, child = orphan
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 5
    while _is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"
