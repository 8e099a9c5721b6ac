"""A decoder may die, hang, swell or lie: its parent gets a reason, and the next video decodes."""

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sandboxes import BytesReader, job
from videos import video_bytes

from pipeline.errors import (
    Crashed,
    InputError,
    Killed,
    OutOfMemory,
    RunError,
    TimedOut,
)
from pipeline.media.process.sandbox import Sandbox
from pipeline.records.resources import DecodeLimits
from pipeline.records.segments import Sizing
from pipeline.storage.schemes import open_reader

TIGHT = DecodeLimits(timeout_s=1.5, memory_bytes=400 << 20, max_pixels=1_000_000)
HANDS = "hostile_decoders"
VIDEO = video_bytes(num_frames=60)


@pytest.fixture(scope="module")
def plan_of_video():  # type: ignore[no-untyped-def]
    with Sandbox(DecodeLimits()) as sandbox:
        return sandbox.plan(BytesReader(VIDEO), job(), sizing=Sizing())


def provoke(entry: str, plan, limits: DecodeLimits = TIGHT) -> InputError:  # type: ignore[no-untyped-def]
    with Sandbox(limits, entry=f"{HANDS}:{entry}") as sandbox, pytest.raises(InputError) as caught:
        list(sandbox.decode(BytesReader(VIDEO), job(), facts=plan.facts, segments=plan.segments))
    return caught.value


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        pytest.param("segfault", Crashed, "SIGSEGV", id="segfaults"),
        pytest.param("abort", Crashed, "SIGABRT", id="aborts"),
        pytest.param("die_of_a_nameless_signal", Crashed, "signal 39", id="dies-of-a-signal-without-a-name"),
        pytest.param("leave", Crashed, "status 0", id="leaves-quietly"),
        pytest.param("raise_error", Crashed, "a bug in the decoder", id="raises"),
        pytest.param("kill_itself", Killed, "from outside", id="is-killed"),
        pytest.param("hang_in_c", TimedOut, "", id="hangs-in-c-holding-the-gil"),
        pytest.param("hang_in_python", TimedOut, "", id="hangs-in-python"),
        pytest.param("never_listen", TimedOut, "", id="never-listens"),
        pytest.param("stall_half_way", TimedOut, "", id="stalls-in-a-message"),
        pytest.param("talk_for_ever", TimedOut, "", id="talks-for-ever"),
        pytest.param("paint_for_ever", TimedOut, "", id="paints-for-ever"),
        pytest.param("balloon_in_python", OutOfMemory, "", id="balloons-in-python"),
        pytest.param("balloon_in_c", OutOfMemory, "", id="balloons-in-c"),
        pytest.param("balloon_slowly", OutOfMemory, "", id="balloons-slowly"),
        pytest.param("start_threads_without_end", Crashed, "threads", id="starts-threads-without-end"),
        pytest.param("say_garbage", Crashed, "nonsense", id="says-garbage"),
        pytest.param("say_list", Crashed, "nonsense", id="says-a-list"),
        pytest.param("say_unknown_event", Crashed, "nonsense", id="says-an-unknown-event"),
        pytest.param("say_unknown_reason", Crashed, "nonsense", id="gives-an-unknown-reason"),
        pytest.param("say_deep_nesting", Crashed, "nonsense", id="nests-a-million-deep"),
        pytest.param("promise_too_much", Crashed, "nonsense", id="promises-4-gib"),
        pytest.param("paint_outside", Crashed, "nonsense", id="paints-beyond-the-shared-memory"),
        pytest.param("paint_before", Crashed, "nonsense", id="paints-before-the-shared-memory"),
        pytest.param("paint_hugely", Crashed, "nonsense", id="paints-hugely"),
        pytest.param("paint_a_part", Crashed, "nonsense", id="paints-less-than-was-asked-for"),
        pytest.param("paint_of_a_giant", Crashed, "nonsense", id="paints-of-a-picture-beyond-all-limits"),
        pytest.param("paint_backwards", Crashed, "nonsense", id="paints-negative-sizes"),
        pytest.param("paint_for_another_segment", Crashed, "nonsense", id="paints-for-another-segment"),
        pytest.param("mark_with_text", Crashed, "nonsense", id="marks-with-text"),
        pytest.param("mark_beyond_64_bits", Crashed, "nonsense", id="marks-beyond-64-bits"),
        pytest.param("finish_without_segments", Crashed, "nonsense", id="is-done-too-early"),
        pytest.param("end_twice", Crashed, "nonsense", id="ends-a-segment-twice"),
        pytest.param("explain_at_length", Crashed, "nonsense", id="explains-at-length"),
        pytest.param("draw_instead", Crashed, "nonsense", id="draws-a-still-for-a-video"),
        pytest.param("say_more_than_asked", Crashed, "nonsense", id="adds-a-field"),
        pytest.param("ask_for_nonsense", Crashed, "", id="asks-for-nonsense"),
        pytest.param("write_for_ever", Crashed, "status", id="writes-for-ever"),
    ],
)
@pytest.mark.quick_one_in(3)
def test_decoder_that(entry: str, error: type[InputError], words: str, plan_of_video) -> None:  # type: ignore[no-untyped-def]
    began = time.monotonic()
    limits = replace(TIGHT, timeout_s=20) if error is OutOfMemory else TIGHT
    caught = provoke(entry, plan_of_video, limits)
    assert type(caught) is error
    assert words in caught.detail
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "entry",
    [
        "plan_with_an_endless_fraction",
        "plan_with_a_fraction_over_nothing",
        "plan_with_a_fraction_beyond_64_bits",
        "plan_with_half_a_character",
    ],
)
def test_decoder_whose_plan_holds_what_its_parent_could_not_use(entry: str) -> None:
    with Sandbox(TIGHT, entry=f"{HANDS}:{entry}") as sandbox, pytest.raises(Crashed, match="nonsense"):
        sandbox.plan(BytesReader(VIDEO), job(), sizing=Sizing())


def test_decoder_that_asks_for_bytes_that_no_file_has_is_no_fault_of_the_store(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(VIDEO)
    hostile = Sandbox(TIGHT, entry=f"{HANDS}:ask_beyond_the_end")
    with hostile as sandbox, open_reader(str(path)) as reader, pytest.raises(Crashed):
        sandbox.plan(reader, job(), sizing=Sizing())


def test_decoder_that_crashes_costs_one_video_and_leaves_nothing_behind(plan_of_video) -> None:  # type: ignore[no-untyped-def]
    with Sandbox(TIGHT, entry=f"{HANDS}:segfault") as sandbox:
        num_fds = open_fds()
        for _ in range(12):
            with pytest.raises(Crashed):
                list(
                    sandbox.decode(
                        BytesReader(VIDEO), job(), facts=plan_of_video.facts, segments=plan_of_video.segments
                    )
                )
            assert sandbox.pid is None
        # Other tests' servers live on beside this one, and their connections come and go.
        assert open_fds() < num_fds + 12
    assert not [child for child in psutil.Process().children() if "pipeline.media.process.child" in child.cmdline()]


def test_shared_memory_cannot_shrink_under_the_parent(plan_of_video) -> None:  # type: ignore[no-untyped-def]
    assert "refused" in provoke("shrink_the_pictures", plan_of_video).detail


def test_decoder_can_open_no_file_and_no_socket_even_if_asked(plan_of_video) -> None:  # type: ignore[no-untyped-def]
    assert provoke("open_something", plan_of_video).detail == "opened []"


def test_decoder_that_does_not_start_is_no_videos_fault(plan_of_video) -> None:  # type: ignore[no-untyped-def]
    with Sandbox(TIGHT, entry="no_such_module:serve") as sandbox, pytest.raises(RunError, match="no_such_module"):
        sandbox.plan(BytesReader(VIDEO), job(), sizing=Sizing())
