"""What moves before a fixed camera: tight boxes on real cars and people, and nothing where nothing is."""

from collections.abc import Sequence

import numpy as np
import pytest
from truth_clips import CARS, PEOPLE, boxes, exposed, frames, needs_truth, noisy

from pipeline.cameras.analysis.lighting import Luma
from pipeline.cameras.analysis.moving_regions import MovingRegions
from pipeline.records.geometry import Box, Detection


def overlap(one: Box, other: Box) -> float:
    """Shared area by all area of both."""
    across = min(one.left + one.width, other.left + other.width) - max(one.left, other.left)
    down = min(one.top + one.height, other.top + other.height) - max(one.top, other.top)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.width * one.height + other.width * other.height - shared)


@needs_truth
@pytest.mark.parametrize("width", [160, 128, 200])
@pytest.mark.quick_one_in(3)
def test_boxes_are_tight_on_real_cars_without_their_shadows(width: int) -> None:
    regions, overlaps, num_false = MovingRegions(), [], 0
    for frame in frames(CARS, width=width)[::2]:
        found = regions.find(frame.luma, frame.at.time_s)
        true = [each.detection.box for each in boxes(CARS).get(frame.at.pts, ())]
        overlaps += [max((overlap(box, each.box) for each in found), default=0.0) for box in true]
        num_false += sum(all(overlap(each.box, box) < 0.2 for box in true) for each in found)

    assert np.mean(overlaps) > 0.8
    assert np.mean(np.array(overlaps) < 0.4) < 0.02
    assert num_false <= 3


@needs_truth
@pytest.mark.slow
def test_a_cut_to_another_scene_is_another_background() -> None:
    """The camera is turned: what it shows from then on is no object."""
    regions = MovingRegions()
    for frame in frames(CARS)[:50]:
        regions.find(frame.luma, frame.at.time_s)
    found = [regions.find(frame.luma, 4 + frame.at.time_s) for frame in frames(PEOPLE)[:55]]

    assert not any(found[25:])


def scenery(seed: int = 0) -> Luma:
    """Smooth, with some structure."""
    small = np.random.default_rng(seed).integers(60, 160, (9, 16))
    return np.kron(small, np.ones((10, 10))).astype(np.uint8)


def with_block(luma: Luma, left: int, top: int = 30, *, light: int = 230) -> Luma:
    luma = luma.copy()
    luma[top : top + 20, left : left + 30] = light
    return luma


def shown(pictures: Sequence[Luma], *, rate_hz: float = 10) -> list[Sequence[Detection]]:
    regions = MovingRegions()
    return [regions.find(luma, number / rate_hz) for number, luma in enumerate(pictures)]


def test_what_moves_has_a_box_of_its_own() -> None:
    found = shown([scenery()] * 5 + [with_block(scenery(), 2 * k) for k in range(40)])

    assert not any(found[:5])
    (box,) = (each.box for each in found[30])
    left = 2 * 25 / 160
    assert [box.left, box.top, box.width, box.height] == pytest.approx([left, 30 / 90, 30 / 160, 20 / 90], abs=0.03)


@pytest.mark.slow
def test_what_has_come_and_stands_still_stays_an_object_for_a_minute_and_no_longer() -> None:
    coming = [with_block(scenery(), 2 * k) for k in range(30)]
    found = shown([scenery()] * 5 + coming + [coming[-1]] * 700)

    assert all(len(each) == 1 for each in found[10 : 35 + 590])
    assert not any(found[35 + 620 :])


def test_where_something_stood_when_the_session_began_is_nothing_once_it_has_left() -> None:
    leaving = [with_block(scenery(), 60)] * 10 + [with_block(scenery(), 60 + 4 * k) for k in range(40)]
    found = shown(leaving + [scenery()] * 40)

    assert not any(found[-20:])


def test_light_that_moves_slowly_over_a_wall_is_no_object() -> None:
    """A patch of sun: other than the background before it is followed, and nothing that came."""
    sunny = [with_light(scenery(), min(60, k)) for k in range(200)]

    assert not any(shown([scenery()] * 10 + sunny))


def with_light(luma: Luma, more: int) -> Luma:
    luma = luma.copy()
    luma[20:60, 40:90] += np.uint8(more)
    return luma


@pytest.mark.parametrize("gain", [0.5, 0.7, 1.4])
def test_another_exposure_is_no_motion(gain: float) -> None:
    found = shown([noisy(exposed(scenery(), gain if k > 20 else 1), deviation=2, seed=k) for k in range(60)])

    assert not any(found)


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (90, 160), (200, 160)])
def test_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    found = shown([np.full(shape, 90 + k % 2, np.uint8) for k in range(20)])

    assert not any(found)


def test_another_size_begins_anew() -> None:
    assert not any(shown([scenery()] * 3 + [scenery()[:, :100]] * 3))
