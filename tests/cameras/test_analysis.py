"""A session looked at: real cars cross a line, real people stand in a zone, by motion alone and by a detector."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from analysed_clips import FLOOR, ROAD, SESSION, Seen, TruthDetector, looked_at, spec
from truth_clips import CARS, PEOPLE, Frame, boxes, crossings, exposed, frames, moment, needs_truth, noisy, visits

from pipeline.cameras.analysis.analysis import Analysis, Picture
from pipeline.cameras.analysis.detector import DetectionFailed, Pixels
from pipeline.cameras.analysis.lighting import Luma
from pipeline.cameras.rules.track_rules import StoredTracks
from pipeline.records.events import Event, EventType
from pipeline.records.geometry import Detection
from pipeline.records.streams import MotionLevel


def matched(events: Sequence[Event], truth: Sequence[tuple[float, str]], *, within_s: float) -> bool:
    """Whether these events, and no others, are at these times."""
    found = sorted((event.time_s or 0, event.direction or event.type) for event in events)
    wanted = sorted(truth)
    return len(found) == len(wanted) and all(
        kind == true_kind and abs(time_s - true_s) <= within_s
        for (time_s, kind), (true_s, true_kind) in zip(found, wanted, strict=True)
    )


def of_type(seen: Seen, *kinds: EventType) -> list[Event]:
    return [event for event in seen.events if event.type in kinds]


def changed_light(frame: Frame) -> Luma:
    return exposed(frame.luma, 0.5 if frame.at.time_s % 10 > 5 else 1.0)


def noise(frame: Frame) -> Luma:
    return noisy(frame.luma, deviation=5, seed=frame.at.pts)


@needs_truth
@pytest.mark.parametrize(
    ("every", "change", "within_s"),
    [
        pytest.param(1, lambda frame: frame.luma, 0.25, id="each-picture"),
        pytest.param(2, changed_light, 0.3, id="every-second-picture-while-the-exposure-jumps-to-half"),
        pytest.param(2, noise, 0.3, id="every-second-picture-with-noise"),
    ],
)
def test_four_cars_cross_a_line_by_motion_alone(every: int, change: Callable[[Frame], Luma], within_s: float) -> None:
    seen = looked_at(CARS, spec(lines=[ROAD]), every=every, change=change)
    crossed = of_type(seen, EventType.LINE_CROSSED)

    assert matched(crossed, crossings(), within_s=within_s), [(each.time_s, each.direction) for each in crossed]
    assert len({each.track for each in crossed}) == 4


@needs_truth
def test_what_moves_when_the_session_begins_leaves_no_ghost() -> None:
    """The first picture has a car in it; where that was stays nothing."""
    seen = looked_at(CARS, spec(lines=[ROAD]), since_s=15.8)
    crossed = of_type(seen, EventType.LINE_CROSSED)

    assert matched(crossed[-1:], crossings()[-1:], within_s=0.3)
    assert len(crossed) <= 3
    assert [point for point in seen.points if 22 < point.time_s < 24.5] == []


@needs_truth
@pytest.mark.slow
def test_people_step_into_a_zone_and_leave_it_by_motion_alone() -> None:
    seen = looked_at(PEOPLE, spec(zones=[FLOOR]), every=2)
    truth = [
        (visit[f"zone_{what}_s"], kind)
        for visit in visits()
        for what, kind in [("enter", EventType.ZONE_ENTERED), ("leave", EventType.ZONE_LEFT)]
    ]

    events = of_type(seen, EventType.ZONE_ENTERED, EventType.ZONE_LEFT)
    assert matched(events, truth, within_s=0.35), [(each.type, each.time_s) for each in events]


@needs_truth
def test_a_detector_that_is_right_gives_the_truth_to_the_picture() -> None:
    seen = looked_at(CARS, spec(detect="truth", lines=[ROAD]), detector=TruthDetector(CARS))

    assert matched(of_type(seen, EventType.LINE_CROSSED), crossings(), within_s=0.001)
    assert {(point.label, point.confidence) for point in seen.points} == {("car", 0.9)}
    true = {(pts, each.detection.box) for pts, found in boxes(CARS).items() for each in found}
    assert {(point.pts, point.box) for point in seen.points} <= true
    assert len(seen.points) >= 0.97 * len(true)


@needs_truth
def test_zones_by_a_detector_that_is_right_and_how_long_each_stayed() -> None:
    seen = looked_at(PEOPLE, spec(detect="truth", zones=[FLOOR]), detector=TruthDetector(PEOPLE))

    entered, left = of_type(seen, EventType.ZONE_ENTERED), of_type(seen, EventType.ZONE_LEFT)
    assert [each.time_s for each in entered] == [visit["zone_enter_s"] for visit in visits()]
    assert [each.time_s for each in left] == [visit["zone_leave_s"] for visit in visits()]
    for come, gone, visit in zip(entered, left, visits(), strict=True):
        assert gone.track == come.track
        assert gone.value == {"dwell_s": pytest.approx(visit["zone_leave_s"] - visit["zone_enter_s"])}
        assert gone.label == "person"


@needs_truth
@pytest.mark.parametrize("detect", ["motion", "truth"])
def test_rules_on_the_stored_tracks_give_what_they_gave_live(detect: str) -> None:
    detector = TruthDetector(CARS) if detect == "truth" else None
    seen = looked_at(CARS, spec(detect=detect, lines=[ROAD]), detector=detector)
    live = [(each.track, each.direction, each.pts, each.box) for each in of_type(seen, EventType.LINE_CROSSED)]

    tracks = StoredTracks(lines=[ROAD], zones=())
    stored = [happening for point in seen.points for happening in tracks.point(point)]

    assert sorted(live) == sorted((each.track, each.direction, each.at.pts, each.box) for each in stored)


@needs_truth
def test_with_a_gate_a_detector_is_shown_what_moves_and_who_stands_still_has_not_left() -> None:
    """Three people stand before the table for many seconds, and the gate closes meanwhile."""
    detector = TruthDetector(PEOPLE)
    seen = looked_at(PEOPLE, spec(detect="truth", zones=[FLOOR], motion=MotionLevel.LOW), detector=detector)
    truth = [
        (visit[f"zone_{what}_s"], kind)
        for visit in visits()
        for what, kind in [("enter", EventType.ZONE_ENTERED), ("leave", EventType.ZONE_LEFT)]
    ]

    events = of_type(seen, EventType.ZONE_ENTERED, EventType.ZONE_LEFT)
    assert matched(events, truth, within_s=0.3), [(each.type, each.time_s) for each in events]
    assert len({each.track for each in events}) == len(visits())
    assert detector.num_asked < 0.5 * len(frames(PEOPLE))


@needs_truth
def test_a_detector_that_fails_now_and_then_costs_nothing() -> None:
    """Pictures without an answer were not looked at: nothing ends by them."""
    detector = TruthDetector(CARS, fails_at=lambda pts: pts // 2000 % 10 in (3, 4, 5, 6))
    seen = looked_at(CARS, spec(detect="truth", lines=[ROAD]), detector=detector)

    assert matched(of_type(seen, EventType.LINE_CROSSED), crossings(), within_s=0.4)
    assert set(seen.problems) == {"too late"}


@needs_truth
def test_the_gate_and_the_objects_are_told_together_and_a_track_is_in_a_picture_once() -> None:
    seen = looked_at(CARS, spec(lines=[ROAD], motion=MotionLevel.MEDIUM), every=2)
    places = [(point.pts, point.track) for point in seen.points]

    assert len(set(places)) == len(places)
    together = {pts for pts, count in Counter(pts for pts, _ in places).items() if count > 1}
    assert any(16 < point.time_s < 17.5 for point in seen.points if point.pts in together)
    assert {each.type for each in seen.events} == {
        EventType.MOTION_START,
        EventType.MOTION_END,
        EventType.LINE_CROSSED,
    }
    assert [each.event_id for each in seen.events] == sorted(each.event_id for each in seen.events)
    assert all((each.video_id, each.stream, each.uri) == ("v1", "gate", SESSION.uri) for each in seen.events)
    assert all(b.captured_at >= a.captured_at for a, b in pairwise(of_type(seen, EventType.LINE_CROSSED)))


def blank(k: int, *, detect: bool = True, full: Pixels | None = None, is_corrupt: bool = False) -> Picture:
    luma = np.full((90, 160), 100, np.uint8)
    return Picture(moment=moment(k / 10), luma=luma, detect=detect, full=full, is_corrupt=is_corrupt)


class NeverAnswers:
    """A detector that is asked and says nothing."""

    async def detect(self, picture: Pixels) -> Sequence[Detection]:
        await asyncio.sleep(3600)
        raise DetectionFailed("not reached")

    async def close(self) -> None:
        pass


def test_a_detector_that_never_answers_holds_up_nothing() -> None:
    async def session() -> float:
        loop = asyncio.get_running_loop()
        analysis = Analysis(spec(detect="slow"), session=SESSION, new_event_id=str, detector=NeverAnswers())
        began = loop.time()
        for k in range(200):
            assert analysis.frame(blank(k, full=np.zeros((1, 1, 3), np.uint8))).is_moving
            await asyncio.sleep(0)
        await analysis.end()
        return loop.time() - began

    assert asyncio.run(session()) < 60


def test_a_fault_in_a_detector_is_no_missing_answer() -> None:
    class Wrong(NeverAnswers):
        async def detect(self, picture: Pixels) -> Sequence[Detection]:
            raise ZeroDivisionError

    async def session() -> None:
        analysis = Analysis(spec(detect="wrong"), session=SESSION, new_event_id=str, detector=Wrong())
        for k in range(3):
            analysis.frame(blank(k, full=np.zeros((1, 1, 3), np.uint8)))
            await asyncio.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(session())


def test_damaged_pictures_are_passed_over() -> None:
    analysis = Analysis(spec(motion=MotionLevel.HIGH), session=SESSION, new_event_id=str)
    for k in range(20):
        looked = analysis.frame(blank(k))
    grey = Picture(moment=moment(2.0), luma=np.full((90, 160), 128, np.uint8), is_corrupt=True, detect=True)

    assert not looked.is_moving
    assert not analysis.frame(grey).is_moving


def test_a_heads_labels_become_events() -> None:
    analysis = Analysis(spec(detect="off", head="visitors"), session=SESSION, new_event_id=lambda at: "e")
    events = [
        event
        for k, label in enumerate(["empty", "empty", "person", "person"])
        for event in analysis.label(moment(k), label, confidence=0.8)
    ]

    assert [(each.type, each.label, each.time_s, each.name) for each in events] == [
        (EventType.LABEL_CHANGED, "person", 2.0, "visitors")
    ]


def test_a_detector_is_given_just_where_one_is_asked_for() -> None:
    with pytest.raises(ValueError, match="detector"):
        Analysis(spec(detect="ssdlite320_mobilenet_v3_large"), session=SESSION, new_event_id=str)
    with pytest.raises(ValueError, match="detector"):
        Analysis(spec(detect="motion"), session=SESSION, new_event_id=str, detector=NeverAnswers())
