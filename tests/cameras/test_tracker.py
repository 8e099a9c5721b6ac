"""Tracks over the truth's boxes, with boxes dropped, shifted and added by seed; and over objects made up here."""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import pytest
from truth_clips import CARS, PEOPLE, boxes, frames, moment, needs_truth

from pipeline.cameras.analysis.tracker import Tracker
from pipeline.cameras.rules.happenings import Moment
from pipeline.records.geometry import Box, Detection

Numbers = dict[int, dict[float, int]]
"""The number that each object of the truth had in each picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What a detector does wrong."""

    drop: float
    """Of boxes, that are not there."""
    hide: float
    """Of pictures, from which on an object is not seen for up to a second."""
    shift: float
    """The deviation of edges, in shares of the box."""
    add: float
    """Of pictures, with a box of nothing."""


PERFECT = Damage(drop=0, hide=0, shift=0, add=0)
GOOD = Damage(drop=0.05, hide=0.01, shift=0.01, add=0.05)
POOR = Damage(drop=0.2, hide=0.02, shift=0.02, add=0.15)


def damaged(
    clip: str, damage: Damage, *, seed: int, every: int
) -> Iterator[tuple[Moment, dict[Box, int | None], list[Detection]]]:
    """Each picture's boxes as a detector might give them, and which object each is."""
    rng = random.Random(seed)
    hidden_until_s = defaultdict[int, float](float)
    truth = boxes(clip)
    for frame in frames(clip)[::every]:
        owners: dict[Box, int | None] = {}
        detections = []
        for true in truth.get(frame.at.pts, ()):
            if rng.random() < damage.hide * every:
                hidden_until_s[true.track] = frame.at.time_s + rng.uniform(0.1, 0.95)
            if hidden_until_s[true.track] > frame.at.time_s or rng.random() < damage.drop:
                continue
            box = shifted(true.detection.box, damage.shift, rng)
            owners[box] = true.track
            detections.append(Detection(box=box, label=true.detection.label, confidence=0.9))
        if rng.random() < damage.add:
            box = anywhere(rng)
            owners[box] = None
            detections.append(Detection(box=box, label="car" if clip == CARS else "person", confidence=0.5))
        rng.shuffle(detections)
        yield frame.at, owners, detections


def shifted(box: Box, share: float, rng: random.Random) -> Box:
    left, top = box.left + rng.gauss(0, share) * box.width, box.top + rng.gauss(0, share) * box.height
    return Box(
        left=left, top=top, width=box.width * (1 + rng.gauss(0, share)), height=box.height * (1 + rng.gauss(0, share))
    )


def anywhere(rng: random.Random) -> Box:
    width, height = rng.uniform(0.05, 0.3), rng.uniform(0.05, 0.5)
    return Box(left=rng.uniform(0, 1 - width), top=rng.uniform(0, 1 - height), width=width, height=height)


def numbers(clip: str, damage: Damage, *, seed: int, every: int = 1) -> Numbers:
    tracker, found, owners = Tracker(), Numbers(), dict[tuple[int, Box], int | None]()
    for at, who, detections in damaged(clip, damage, seed=seed, every=every):
        owners |= {(at.pts, box): owner for box, owner in who.items()}
        tracked = tracker.follow(detections, at)
        assert len({(place.track, place.at.pts) for place in tracked.places}) == len(tracked.places)
        for place in tracked.places:
            owner = owners[place.at.pts, place.detection.box]
            if owner is not None:
                found.setdefault(owner, {})[place.at.time_s] = place.track
    return found


def shared(found: Numbers) -> list[tuple[int, int]]:
    """Objects that had the same number."""
    return [
        (one, other) for one, other in combinations(found, 2) if set(found[one].values()) & set(found[other].values())
    ]


def changed(found: Numbers) -> list[tuple[int, float, float]]:
    """Objects whose number became another within a second, and when they were seen before and after."""
    return [
        (owner, before, after)
        for owner, by_time in found.items()
        for before, after in pairwise(sorted(by_time))
        if after - before <= 1 and by_time[before] != by_time[after]
    ]


@needs_truth
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("damage", [pytest.param(GOOD, id="a-good-detector"), pytest.param(POOR, id="a-poor-one")])
@pytest.mark.parametrize("clip", [pytest.param(CARS, id="cars"), pytest.param(PEOPLE, id="people")])
@pytest.mark.quick_one_in(5)
def test_a_number_is_one_objects_and_stays_its_own_while_it_is_missed_for_a_second(
    clip: str, damage: Damage, seed: int
) -> None:
    found = numbers(clip, damage, seed=seed)

    assert len(found) == (4 if clip == CARS else 6)
    assert shared(found) == []
    assert changed(found) == []


@needs_truth
@pytest.mark.parametrize(
    ("clip", "every"),
    [
        pytest.param(CARS, 1, id="cars-12-a-second"),
        pytest.param(CARS, 2, id="cars-6-a-second"),
        pytest.param(CARS, 5, id="cars-2-a-second"),
        pytest.param(PEOPLE, 1, id="people-10-a-second"),
        pytest.param(PEOPLE, 5, id="people-2-a-second"),
        pytest.param(PEOPLE, 10, id="people-1-a-second"),
    ],
)
def test_a_detector_that_is_right_gives_each_object_one_number_at_any_rate(clip: str, every: int) -> None:
    found = numbers(clip, PERFECT, seed=0, every=every)

    assert [len(set(by_time.values())) for by_time in found.values()] == [1] * (4 if clip == CARS else 6)
    assert shared(found) == []


def seen(x: float, y: float, *, label: str = "car") -> Detection:
    return Detection(box=Box(left=x - 0.05, top=y - 0.05, width=0.1, height=0.1), label=label, confidence=None)


def followed(tracker: Tracker, pictures: dict[float, list[Detection]]) -> tuple[list[tuple[float, int]], list[int]]:
    """When which number was seen, and which ended."""
    places, ended = list[tuple[float, int]](), list[int]()
    for time_s, detections in pictures.items():
        tracked = tracker.follow(detections, moment(time_s))
        places += [(place.at.time_s, place.track) for place in tracked.places]
        ended += tracked.ended
    return places, ended


def test_the_first_pictures_of_an_object_are_told_once_it_has_a_number() -> None:
    places, _ = followed(Tracker(), {k / 10: [seen(0.1 + 0.02 * k, 0.5)] for k in range(5)})

    assert places == [(0.0, 1), (0.1, 1), (0.2, 1), (0.3, 1), (0.4, 1)]


def test_what_is_seen_once_or_twice_has_no_number() -> None:
    places, ended = followed(Tracker(), {0.0: [seen(0.1, 0.1)], 0.1: [seen(0.1, 0.1)], 0.2: [], 0.3: [], 1.5: []})

    assert (places, ended) == ([], [])


def test_two_that_pass_each_other_keep_their_numbers() -> None:
    pictures = {k / 10: [seen(0.1 + 0.02 * k, 0.46), seen(0.9 - 0.02 * k, 0.54)] for k in range(40)}

    places, _ = followed(Tracker(), {at: found[:: -1 if at > 2 else 1] for at, found in pictures.items()})
    by_number = {number: [at for at, each in places if each == number] for number in (1, 2)}

    assert len(places) == 80
    assert all(len(set(times)) == 40 for times in by_number.values())


def test_one_who_is_hidden_behind_the_other_for_half_a_second_keeps_his_number() -> None:
    tracker = Tracker()
    for k in range(60):
        near = [seen(0.1 + 0.015 * k, 0.5)]
        far = [] if 25 <= k < 30 else [seen(0.9 - 0.015 * k, 0.47, label="person")]
        places = tracker.follow([*near, *far], moment(k / 10)).places
        if k >= 30:
            assert sorted((place.track, place.detection.label) for place in places) == [(1, "car"), (2, "person")]


def test_an_object_that_is_missed_for_too_long_ends_and_comes_back_as_another() -> None:
    here = {k / 10: [seen(0.5, 0.5)] for k in range(10)}
    gone = {k / 10: list[Detection]() for k in range(10, 30)}
    again = {k / 10: [seen(0.5, 0.5)] for k in range(30, 40)}

    places, ended = followed(Tracker(), here | gone | again)

    assert [number for _, number in places] == [1] * 10 + [2] * 10
    assert ended == [1]


def test_pictures_that_were_not_looked_at_are_no_sign_of_absence() -> None:
    """A detector that is down for less than a second changes nothing."""
    before = {k / 10: [seen(0.3 + 0.01 * k, 0.5)] for k in range(10)}
    after = {k / 10: [seen(0.3 + 0.01 * k, 0.5)] for k in range(18, 25)}

    places, ended = followed(Tracker(), before | after)

    assert {number for _, number in places} == {1}
    assert ended == []


def test_an_object_that_a_detector_boxes_twice_is_one() -> None:
    twice = {k / 10: [seen(0.3, 0.5), seen(0.31, 0.5)] for k in range(10)}

    places, _ = followed(Tracker(), twice)

    assert {number for _, number in places} == {1}


def test_the_end_of_a_session_ends_all() -> None:
    tracker = Tracker()
    followed(tracker, {k / 10: [seen(0.1, 0.1), seen(0.9, 0.9)] for k in range(5)})

    assert sorted(tracker.end().ended) == [1, 2]
    assert tracker.end().ended == []
