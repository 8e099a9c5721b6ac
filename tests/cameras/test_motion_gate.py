"""The motion gate on real footage: open while something moves, closed otherwise, whatever the light does."""

from collections.abc import Callable

import numpy as np
import pytest
from truth_clips import CAR_TIMES, CARS, PEOPLE, Frame, exposed, frames, moment, needs_truth, noisy, visits

from pipeline.cameras.analysis.lighting import Luma
from pipeline.cameras.analysis.motion_gate import MotionGate
from pipeline.cameras.rules.happenings import Happening
from pipeline.records.events import EventType
from pipeline.records.streams import MotionLevel

Change = Callable[[Frame], Luma]


def as_it_is(frame: Frame) -> Luma:
    return frame.luma


def exposure_jumps(frame: Frame) -> Luma:
    return exposed(frame.luma, 0.5 if frame.at.time_s % 14 > 7 else 1.0)


def exposure_swings(frame: Frame) -> Luma:
    return exposed(frame.luma, 0.75 + 0.25 * np.cos(frame.at.time_s * np.pi / 2))


def noise_of(deviation: float) -> Change:
    return lambda frame: noisy(frame.luma, deviation=deviation, seed=frame.at.pts)


def gated(
    clip: str, level: MotionLevel, *, change: Change = as_it_is, every: int = 1
) -> tuple[list[Happening], list[float], int]:
    """What the gate tells, when it is open, and of how many pictures."""
    gate, told, open_s = MotionGate(level), list[Happening](), list[float]()
    shown = frames(clip)[::every]
    for frame in shown:
        happening = gate.look(change(frame), frame.at)
        if happening is not None:
            told.append(happening)
        if gate.is_open:
            open_s.append(frame.at.time_s)
    return told, open_s, len(shown)


def times_of(told: list[Happening], kind: EventType) -> list[float]:
    return [each.at.time_s for each in told if each.type is kind]


BUSY = pytest.mark.parametrize("clip", [pytest.param(CARS, id="cars"), pytest.param(PEOPLE, id="people")])


def busy_times(clip: str) -> list[tuple[float, float]]:
    return list(CAR_TIMES) if clip == CARS else [(visit["enter_s"], visit["leave_s"]) for visit in visits()]


@needs_truth
@BUSY
@pytest.mark.parametrize(
    ("change", "every"),
    [
        pytest.param(as_it_is, 1, id="as-it-is"),
        pytest.param(as_it_is, 2, id="half-the-frames"),
        pytest.param(exposure_jumps, 1, id="exposure-jumps-to-half"),
        pytest.param(exposure_swings, 1, id="exposure-swings-by-half"),
        pytest.param(noise_of(5), 1, id="noise"),
        pytest.param(noise_of(12), 1, id="much-noise"),
    ],
)
@pytest.mark.quick_one_in(5)
def test_motion_begins_when_somebody_comes_and_is_over_after_he_has_gone(clip: str, change: Change, every: int) -> None:
    told, open_s, num = gated(clip, MotionLevel.MEDIUM, change=change, every=every)
    busy = busy_times(clip)
    starts, ends = times_of(told, EventType.MOTION_START), times_of(told, EventType.MOTION_END)

    for enter_s, leave_s in busy:
        assert any(enter_s - 0.4 <= start <= enter_s + 0.7 for start in starts), (enter_s, starts)
        assert any(enter_s <= at <= enter_s + 0.8 for at in open_s)
        is_at_the_end = leave_s + 3 > frames(clip)[-1].at.time_s
        assert is_at_the_end or any(leave_s - 0.5 <= end <= leave_s + 3 for end in ends), (leave_s, ends)
    assert [start for start in starts if all(not a - 0.5 <= start <= b + 1 for a, b in busy)] == []
    assert [at for at in open_s if all(not a - 0.5 <= at <= b + 3 for a, b in busy)] == []
    assert len(open_s) <= (0.7 if clip == CARS else 0.85) * num


@needs_truth
@BUSY
def test_the_higher_the_level_the_longer_the_gate_is_open(clip: str) -> None:
    num_open = [len(gated(clip, level)[1]) for level in (MotionLevel.LOW, MotionLevel.MEDIUM, MotionLevel.HIGH)]

    assert num_open == sorted(num_open)
    assert num_open[0] < num_open[-1]


@needs_truth
def test_starts_and_ends_take_turns_and_the_end_tells_how_long_it_moved() -> None:
    told, _, _ = gated(CARS, MotionLevel.MEDIUM)

    assert [each.type for each in told] == [EventType.MOTION_START, EventType.MOTION_END] * 3
    for start, end in zip(told[::2], told[1::2], strict=True):
        assert end.value is not None
        moved_s = end.value["moved_s"]
        assert isinstance(moved_s, float)
        assert end.at.time_s - start.at.time_s - moved_s == pytest.approx(1.0, abs=0.1)


def test_off_is_always_open_and_tells_nothing() -> None:
    gate = MotionGate(MotionLevel.OFF)

    assert gate.look(np.zeros((90, 160), np.uint8), moment(0)) is None
    assert gate.is_open
    assert gate.end(moment(1)) is None


def test_a_single_odd_picture_is_no_motion() -> None:
    """A flash, or damage that the decoder did not notice: what it shows is in no other picture."""
    gate, scene = MotionGate(MotionLevel.HIGH), scenery()
    odd = scene.copy()
    odd[20:70, 30:110] = 235

    told = [gate.look(odd if k == 30 else scene, moment(k / 5)) for k in range(60)]

    assert told == [None] * 60


def test_a_session_that_ends_while_something_moves_tells_its_end() -> None:
    gate, told = MotionGate(MotionLevel.MEDIUM), list[Happening | None]()
    for k in range(20):
        told.append(gate.look(with_block(scenery(), left=4 * k), moment(k / 10)))
    told.append(gate.end(moment(2.0)))

    assert [each.type for each in told if each] == [EventType.MOTION_START, EventType.MOTION_END]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (90, 160), (160, 90), (120, 161)])
def test_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    gate = MotionGate(MotionLevel.MEDIUM)
    for k in range(10):
        gate.look(np.full(shape, 100, np.uint8), moment(k / 10))

    assert not gate.is_open


def scenery() -> Luma:
    return np.random.default_rng(0).integers(60, 140, (90, 160), dtype=np.uint8)


def with_block(luma: Luma, *, left: int) -> Luma:
    luma = luma.copy()
    luma[30:60, left : left + 20] = 230
    return luma
