"""Lines, zones and labels over places that are written down here."""

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest
from truth_clips import BEGAN, moment

from pipeline.cameras.rules.happenings import Happening
from pipeline.cameras.rules.label_changes import LabelRule, Spoken
from pipeline.cameras.rules.lines import side_of
from pipeline.cameras.rules.track_rules import StoredTracks, TrackRules
from pipeline.cameras.rules.zones import is_within
from pipeline.records.events import EventType, TrackPoint
from pipeline.records.geometry import Box, Line, Point, Zone

ACROSS = Line.parse("ACROSS:0.2,0.5,0.8,0.5")
FLOOR = Zone.parse("FLOOR:0.4,0.6,0.8,0.6,0.8,0.9,0.4,0.9")


def place(time_s: float, x: float, y: float, *, track: int = 1) -> TrackPoint:
    """An object whose box has its middle there, and its feet 0.05 below."""
    at = moment(time_s)
    box = Box(left=x - 0.05, top=y - 0.05, width=0.1, height=0.1)
    return TrackPoint(
        video_id="v",
        stream="gate",
        track=track,
        pts=at.pts,
        time_s=time_s,
        captured_at=at.captured_at,
        box=box,
        label="car",
        confidence=0.5,
    )


def walk(*ys: float, x: float = 0.5) -> list[TrackPoint]:
    """A place a tenth of a second."""
    return [place(k / 10, x, y) for k, y in enumerate(ys)]


def told(points: Iterable[TrackPoint], *, lines: Sequence[Line] = (), zones: Sequence[Zone] = ()) -> list[Happening]:
    tracks = StoredTracks(lines=lines, zones=zones)
    found = [happening for point in points for happening in tracks.point(point)]
    return [*found, *tracks.end()]


@pytest.mark.parametrize(
    ("ys", "crossed"),
    [
        pytest.param([0.7, 0.6, 0.45, 0.4, 0.3], [(0.2, "right_to_left")], id="up-and-the-event-has-the-first-picture"),
        pytest.param([0.3, 0.4, 0.55, 0.6], [(0.2, "left_to_right")], id="down"),
        pytest.param([0.6, 0.45, 0.6, 0.6], [], id="back-after-one-picture"),
        pytest.param([0.6, 0.45], [], id="gone-after-one-picture"),
        pytest.param([0.6, 0.5, 0.5, 0.6], [], id="on-the-line-is-not-past-it"),
        pytest.param([0.6, 0.5, 0.45, 0.45], [(0.2, "right_to_left")], id="past-the-line-by-way-of-it"),
        pytest.param([0.5, 0.45, 0.4], [], id="begun-on-the-line"),
        pytest.param([0.6, 0.4, 0.4, 0.6, 0.6], [(0.1, "right_to_left"), (0.3, "left_to_right")], id="there-and-back"),
        pytest.param([0.6, 0.4, 0.6, 0.4, 0.6, 0.4, 0.6], [], id="trembling-on-the-line"),
        pytest.param([0.9, 0.1, 0.05], [(0.1, "right_to_left")], id="far-in-one-step"),
        pytest.param([0.6, 0.7], [], id="never-near"),
    ],
)
def test_a_line_is_crossed_when_the_centre_passes_and_stays_for_two_pictures(
    ys: list[float], crossed: list[tuple[float, str]]
) -> None:
    found = told(walk(*ys), lines=[ACROSS])

    assert [(each.at.time_s, each.direction) for each in found] == crossed
    assert {each.type for each in found} <= {EventType.LINE_CROSSED}
    assert {each.name for each in found} <= {"ACROSS"}


def test_the_event_has_the_box_and_label_of_its_picture() -> None:
    points = walk(0.6, 0.45, 0.4)

    (crossed,) = told(points, lines=[ACROSS])

    assert (crossed.box, crossed.label, crossed.confidence, crossed.track) == (points[1].box, "car", 0.5, 1)
    assert (crossed.at.pts, crossed.at.captured_at) == (points[1].pts, points[1].captured_at)


def test_the_lines_prolongation_is_not_the_line() -> None:
    assert told(walk(0.6, 0.45, 0.4, x=0.1), lines=[ACROSS]) == []
    # Round its end to the other side, and back through it.
    round_it = [place(0.0, 0.5, 0.6), place(0.1, 0.1, 0.5001), place(0.2, 0.1, 0.4), place(0.3, 0.5, 0.4)]
    assert told(round_it, lines=[ACROSS]) == []
    assert [
        each.direction for each in told([*round_it, place(0.4, 0.5, 0.6), place(0.5, 0.5, 0.6)], lines=[ACROSS])
    ] == ["left_to_right"]


@pytest.mark.parametrize("seed", range(5))
def test_the_same_line_from_the_other_end_is_crossed_the_other_way(seed: int) -> None:
    rng = random.Random(seed)
    first, second = (Point(x=rng.random(), y=rng.random()) for _ in range(2))
    points = [place(k / 10, rng.random(), rng.random(), track=k % 3) for k in range(300)]

    there = told(points, lines=[Line(name="L", first=first, second=second)])
    back = told(points, lines=[Line(name="L", first=second, second=first)])

    assert there
    assert [(each.track, each.at) for each in there] == [(each.track, each.at) for each in back]
    assert all(one.direction != other.direction for one, other in zip(there, back, strict=True))


def test_left_and_right_are_as_seen_from_the_first_point() -> None:
    up = Line.parse("UP:0.5,1,0.5,0")

    assert side_of(up, Point(x=0.9, y=0.5)) == 1
    assert side_of(up, Point(x=0.1, y=0.5)) == -1
    assert side_of(up, Point(x=0.5, y=0.2)) == 0


def test_a_zone_is_entered_and_left_by_the_feet() -> None:
    entered, left = told(walk(0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95), zones=[FLOOR])

    assert (entered.type, entered.at.time_s, entered.value) == (EventType.ZONE_ENTERED, 0.2, None)
    assert (left.type, left.at.time_s, left.value) == (EventType.ZONE_LEFT, 0.5, {"dwell_s": 0.3})
    assert entered.name == left.name == "FLOOR"
    assert entered.label == left.label == "car"


@pytest.mark.parametrize(
    ("ys", "events"),
    [
        pytest.param(
            [0.6, 0.7, 0.7], [("zone_entered", 0.0), ("zone_left", 0.2)], id="the-track-begins-and-ends-in-it"
        ),
        pytest.param([0.6, 0.7, 0.95], [("zone_entered", 0.0), ("zone_left", 0.2)], id="the-track-ends-past-its-edge"),
        pytest.param([0.3, 0.7], [], id="the-track-ends-after-one-picture-in-it"),
        pytest.param([0.3, 0.7, 0.3, 0.3], [], id="in-it-for-one-picture"),
        pytest.param([0.7, 0.7, 0.3, 0.7], [("zone_entered", 0.0), ("zone_left", 0.3)], id="outside-for-one-picture"),
        pytest.param([0.3, 0.4], [], id="never-in-it"),
    ],
)
def test_a_track_that_ends_in_a_zone_leaves_it(ys: list[float], events: list[tuple[str, float]]) -> None:
    assert [(each.type, each.at.time_s) for each in told(walk(*ys), zones=[FLOOR])] == events


def test_a_track_that_goes_on_has_not_left_its_zone() -> None:
    tracks = StoredTracks(lines=(), zones=[FLOOR])
    for point in walk(0.7, 0.7, 0.7):
        tracks.point(point)

    assert tracks.end(open_since=BEGAN) == []
    assert [each.type for each in tracks.end(open_since=BEGAN + timedelta(seconds=10))] == [EventType.ZONE_LEFT]


def test_a_stored_track_has_ended_once_it_has_no_point_for_a_day() -> None:
    """A session may last for months: nobody keeps its tracks in memory until then."""
    tracks = StoredTracks(lines=(), zones=[FLOOR])
    for point in walk(0.7, 0.7, 0.7):
        tracks.point(point)

    (left,) = tracks.point(place(100_000, 0.1, 0.1, track=2))

    assert (left.type, left.track, left.at.time_s) == (EventType.ZONE_LEFT, 1, 0.2)
    assert tracks.end() == []


def test_a_zone_may_be_hollow_towards_a_side() -> None:
    horseshoe = Zone.parse("H:0.1,0.1,0.9,0.1,0.9,0.9,0.6,0.9,0.6,0.4,0.4,0.4,0.4,0.9,0.1,0.9")

    assert is_within(horseshoe, Point(x=0.2, y=0.8))
    assert is_within(horseshoe, Point(x=0.8, y=0.8))
    assert not is_within(horseshoe, Point(x=0.5, y=0.8))
    assert not is_within(horseshoe, Point(x=0.05, y=0.5))


@pytest.mark.parametrize("seed", range(5))
def test_live_and_stored_tell_the_same(seed: int) -> None:
    """Live, each object ends on its own; stored, an object's first places may come after others' later ones."""
    rng = random.Random(seed)
    spots = {track: [rng.random(), rng.random()] for track in range(4)}
    points = []
    for k in range(200):
        for track, spot in spots.items():
            if k // 50 >= track:
                continue
            spot[:] = [min(1, max(0, each + rng.gauss(0, 0.15))) for each in spot]
            points.append(place(k / 10, *spot, track=track))
    rules, live = TrackRules(lines=[ACROSS], zones=[FLOOR]), list[Happening]()
    last = {point.track: point.pts for point in points}
    for point in points:
        live += rules.point(point)
        if point.pts == last[point.track]:
            live += rules.ended(point.track)
    late = [point for point in points if point.track % 2 == 0] + [point for point in points if point.track % 2]

    stored = told(late, lines=[ACROSS], zones=[FLOOR])

    assert len(live) > 3
    assert sorted(live, key=sort_key) == sorted(stored, key=sort_key)


def sort_key(happening: Happening) -> tuple[int, int | None, str, str | None]:
    return happening.at.pts, happening.track, happening.type, happening.name


@pytest.mark.parametrize(
    ("labels", "changes"),
    [
        pytest.param("aabb", [(2, "b", "a")], id="the-event-is-that-of-the-first-of-two"),
        pytest.param("aabaa", [], id="one-sample-alone-counts-for-nothing"),
        pytest.param("aabcbb", [(4, "b", "a")], id="two-in-a-row-are-wanted"),
        pytest.param("ababab", [], id="never-twice"),
        pytest.param("abbaa", [(3, "a", "b")], id="the-first-label-that-holds-is-no-change"),
        pytest.param("aabbaacc", [(2, "b", "a"), (4, "a", "b"), (6, "c", "a")], id="several"),
        pytest.param("aaaa", [], id="the-same-all-along"),
        pytest.param("", [], id="no-sample"),
    ],
)
def test_a_label_has_changed_when_two_samples_say_so(labels: str, changes: list[tuple[int, str, str]]) -> None:
    rule = LabelRule("visitors")
    found = [rule.sample(Spoken(at=moment(k), label=label, confidence=0.7)) for k, label in enumerate(labels)]

    happenings = [each for each in found if each is not None]
    assert [(each.at.time_s, each.label, (each.value or {})["from"]) for each in happenings] == changes
    assert all(
        (each.type, each.name, each.confidence) == (EventType.LABEL_CHANGED, "visitors", 0.7) for each in happenings
    )


def test_an_event_is_its_happening_with_a_name() -> None:
    (crossed,) = told(walk(0.6, 0.45, 0.4), lines=[ACROSS])

    event = crossed.event(event_id="e1", video_id="v", uri="rtsp://gate", stream="gate")

    assert (event.event_id, event.video_id, event.uri, event.stream) == ("e1", "v", "rtsp://gate", "gate")
    assert (event.type, event.pts, event.time_s, event.name) == (EventType.LINE_CROSSED, 100, 0.1, "ACROSS")
    assert event.captured_at > BEGAN
