"""``vidlake events``: rules on what a lake holds tell what they would have told live, and write nothing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from command import vidlake
from numpy.typing import NDArray
from rows import id_of
from served_heads import put, served_backbone, video_cnn
from sessions import camera_session

from pipeline.cameras.hosting.live_head import WatchingHead
from pipeline.cameras.rules.happenings import Happening, Moment
from pipeline.cameras.rules.label_changes import LabelRule, Spoken
from pipeline.cameras.rules.past import Question, past_events
from pipeline.cameras.rules.track_rules import TrackRules
from pipeline.cli.event_commands import events as events_command
from pipeline.errors import UsageError
from pipeline.lake.config import DatasetConfig
from pipeline.lake.dataset import DatasetInfo
from pipeline.lake.live.batches import LiveBatch
from pipeline.lake.live.writer import LiveWriter
from pipeline.models.heads.registry import HeadAddress
from pipeline.records.event_ids import EventIds
from pipeline.records.events import Event, EventType, TrackPoint
from pipeline.records.geometry import Box, Line, Zone
from pipeline.records.periods import Period
from pipeline.records.segments import FrameMark
from pipeline.records.streams import Session

ACROSS = Line.parse("ACROSS:0,0.5,1,0.5")
FLOOR = Zone.parse("FLOOR:0.2,0.6,0.8,0.6,0.8,1,0.2,1")
BEGAN = datetime(2026, 11, 26, 8, 0, tzinfo=UTC)
RATE_HZ = 5


def info() -> DatasetInfo:
    config = DatasetConfig(model=video_cnn(), sample=f"fps:{RATE_HZ}", precision="fp32", dtype="float32")
    return DatasetInfo(config=config, weights="random:0")


def session(stream: str, number: int = 0) -> Session:
    return camera_session(
        id_of(f"{stream}{number}"),
        stream=stream,
        uri=f"rtsp://{stream}/cam",
        started_at=BEGAN + timedelta(hours=number),
    )


def walks(of: Session, *, num: int = 3, seed: int = 0) -> list[TrackPoint]:
    """Objects that go up and down through the picture, each for some seconds, as they come in."""
    rng = np.random.default_rng(seed)
    points = []
    for track in range(1, num + 1):
        x, y, start = rng.uniform(0.2, 0.8), 0.9, 3 * track
        for k in range(40):
            y = abs((0.9 - k * 0.05 + rng.normal(0, 0.01)) % 1.6 - 0.8) + 0.1
            time_s = start + k / 5
            points.append(
                TrackPoint(
                    video_id=of.video_id,
                    stream=of.stream,
                    track=track,
                    pts=round(time_s * 1000),
                    time_s=time_s,
                    captured_at=of.started_at + timedelta(seconds=time_s),
                    box=Box(left=x - 0.05, top=y - 0.1, width=0.1, height=0.1),
                    label="person",
                    confidence=0.5,
                )
            )
    return sorted(points, key=lambda point: (point.time_s, point.track))


def live(points: Sequence[TrackPoint], *, lines: Sequence[Line] = (), zones: Sequence[Zone] = ()) -> list[Happening]:
    rules = TrackRules(lines=lines, zones=zones)
    found = [happening for point in points for happening in rules.point(point)]
    found += [happening for track in {point.track for point in points} for happening in rules.ended(track)]
    return found


def features(num: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Samples that stay alike for some time, so that a head's label holds."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.normal(size=(num // 7 + 1, video_cnn().dim)) * 3, 7, axis=0)[:num].astype(np.float32)


def batch(of: Session, rows: NDArray[np.float32], first: int, points: Sequence[TrackPoint]) -> LiveBatch:
    """Rows of the slots from ``first`` on, and the points of their time."""
    slots = range(first, first + len(rows))
    times_s = [slot / RATE_HZ for slot in slots]
    end_s = (first + len(rows)) / RATE_HZ
    return LiveBatch(
        marks=tuple(
            FrameMark(epoch=0, pts=round(time_s * 1000), time_s=time_s, is_keyframe=False, is_corrupt=False)
            for time_s in times_s
        ),
        captured_at=tuple(of.started_at + timedelta(seconds=time_s) for time_s in times_s),
        features=rows,
        tracks=tuple(point for point in points if first / RATE_HZ <= point.time_s < end_s),
    )


def playing(of: Session) -> Event:
    return Event(
        event_id=EventIds(of.stream).next(of.started_at),
        video_id=of.video_id,
        uri=of.uri,
        stream=of.stream,
        type=EventType.STREAM_STATE,
        pts=None,
        time_s=None,
        captured_at=of.started_at,
        label="playing",
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streams: one with two sessions that are over, one that is live and whose rows the journal alone holds."""
    folder = tmp_path_factory.mktemp("past") / "lake"
    for stream, num_sessions in [("gate", 2), ("yard", 1)]:
        writer = LiveWriter(
            str(folder), info=info(), stream=stream, uri_of_source=f"rtsp://{stream}/cam", publish_s=1000
        )
        for number in range(num_sessions):
            of = session(stream, number)
            rows, points = features(100, seed=number), walks(of, seed=number)
            writer.begin(of)
            for first in range(0, 100, 20):
                writer.commit(batch(of, rows[first : first + 20], first, points))
            if stream == "yard":
                writer.commit(LiveBatch(events=(playing(of),)))
            if stream == "gate":
                writer.end(ended_at=of.started_at + timedelta(seconds=20))
        if stream == "gate":
            writer.close()
    return folder


def of_stream(events: Sequence[Event], stream: str, number: int = 0) -> list[tuple[object, ...]]:
    video_id = session(stream, number).video_id
    return sorted(
        (event.type, event.track, event.direction, event.pts, event.box.left if event.box else None, event.name)
        for event in events
        if event.video_id == video_id
    )


def told(happenings: Sequence[Happening]) -> list[tuple[object, ...]]:
    return sorted(
        (each.type, each.track, each.direction, each.at.pts, each.box.left if each.box else None, each.name)
        for each in happenings
    )


@pytest.mark.parametrize(("stream", "number"), [("gate", 0), ("gate", 1), ("yard", 0)])
def test_lines_and_zones_tell_of_stored_tracks_what_they_told_live(lake: Path, stream: str, number: int) -> None:
    events = list(past_events(str(lake), Question(lines=(ACROSS,), zones=(FLOOR,))))
    points = [point for point in walks(session(stream, number), seed=number) if point.time_s < 20]

    expected = live(points, lines=[ACROSS], zones=[FLOOR])

    assert len(expected) > 5
    assert of_stream(events, stream, number) == told(expected)


def test_the_past_is_told_in_the_order_of_time_with_names_that_stay(lake: Path) -> None:
    question = Question(lines=(ACROSS,), zones=(FLOOR,))
    events = list(past_events(str(lake), question))
    ids = [event.event_id for event in events]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert [event.captured_at for event in events] == sorted(event.captured_at for event in events)
    assert [event.event_id for event in past_events(str(lake), question)] == ids
    alone = {event.event_id for event in past_events(str(lake), Question(lines=(ACROSS,)))}
    assert alone <= set(ids)


def test_since_and_until_choose_by_when_it_happened(lake: Path) -> None:
    every = list(past_events(str(lake), Question(zones=(FLOOR,))))
    middle = every[len(every) // 2].captured_at
    before = Question(zones=(FLOOR,), period=Period(end_s=middle.timestamp()))
    after = Question(zones=(FLOOR,), period=Period(begin_s=middle.timestamp()))

    assert [*past_events(str(lake), before), *past_events(str(lake), after)] == every
    later = Question(zones=(FLOOR,), period=Period(begin_s=(BEGAN + timedelta(days=9)).timestamp()))
    assert list(past_events(str(lake), later)) == []


def test_one_stream_alone(lake: Path) -> None:
    events = list(past_events(str(lake), Question(lines=(ACROSS,), stream="yard")))

    assert {event.stream for event in events} == {"yard"}
    assert {event.uri for event in events} == {"rtsp://yard/cam"}
    with pytest.raises(UsageError, match="no stream 'gone'"):
        list(past_events(str(lake), Question(lines=(ACROSS,), stream="gone")))


@pytest.mark.parametrize("unit", ["frame", "window:1"])
def test_a_head_tells_of_stored_features_what_it_told_live(lake: Path, tmp_path: Path, unit: str) -> None:
    put(tmp_path, "door", unit=unit)
    watching, rule, expected = WatchingHead(str(tmp_path), "door", info=info()), LabelRule("door"), []
    for number, row in enumerate(features(100, seed=1)):
        answer = watching.answer(row, number / RATE_HZ)
        assert answer is not None
        at = Moment(pts=number * 200, time_s=number / RATE_HZ, captured_at=BEGAN)
        if (happening := rule.sample(Spoken(at=at, label=answer[0], confidence=answer[1]))) is not None:
            expected.append(happening)

    question = Question(head=HeadAddress.parse(f"{tmp_path}/door"))
    events = [event for event in past_events(str(lake), question) if event.video_id == session("gate", 1).video_id]

    assert len(expected) >= 3
    assert [(each.type, each.pts, each.label, each.value, each.name) for each in events] == [
        (EventType.LABEL_CHANGED, each.at.pts, each.label, each.value, "door") for each in expected
    ]
    assert [each.confidence for each in events] == pytest.approx([each.confidence for each in expected], abs=1e-5)


def test_a_head_of_other_features_is_refused(lake: Path, tmp_path: Path) -> None:
    other = replace(served_backbone(), model=replace(video_cnn(), weights_digest="sha256:" + "0" * 64))
    put(tmp_path, "door", backbones=[other])

    with pytest.raises(UsageError, match="other features"):
        list(past_events(str(lake), Question(head=HeadAddress.parse(f"{tmp_path}/door"))))


def test_the_command_prints_json_lines_and_changes_nothing(lake: Path) -> None:
    before = files_of(lake)

    done = vidlake("events", lake, "--line", str(ACROSS), "--until", "2026-11-26T08:30:00Z", "--json")

    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    expected = list(past_events(str(lake), Question(lines=(ACROSS,), period=Period.parse(None, "2026-11-26T08:30Z"))))
    assert events == [json.loads(json.dumps(event.to_json())) for event in expected]
    assert {event["type"] for event in events} == {"line_crossed"}
    assert files_of(lake) == before


def files_of(lake: Path) -> dict[Path, int]:
    """All but the lease of the stream that is live, which it renews."""
    return {path: path.stat().st_mtime_ns for path in lake.rglob("*") if path.is_file() and "leases" not in path.parts}


def test_without_a_rule_it_tells_what_was_told(lake: Path) -> None:
    (joined,) = past_events(str(lake), Question())

    assert (joined.type, joined.stream, joined.label) == (EventType.STREAM_STATE, "yard", "playing")
    assert list(past_events(str(lake), Question(stream="gate"))) == []
    assert list(past_events(str(lake), Question(period=Period(end_s=BEGAN.timestamp())))) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--line", "L:0,0"], "bad line", id="no-line"),
        pytest.param(["--zone", "Z:0,0,1,1"], "bad zone", id="no-zone"),
        pytest.param(["--line", "A:0,0,1,1", "--zone", "A:0,0,1,1,0,1"], "same name", id="one-name-twice"),
        pytest.param(["--head", "heads/door@last"], "no head", id="no-head"),
        pytest.param(["--since", "yesterday"], "bad --since", id="no-time"),
    ],
)
def test_words_that_do_not_parse_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        events_command.main(["lake", *words], standalone_mode=False)
