"""The connections of one stream: what ends one, what is told of the time between two, and what is no stall."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scripted_pullers import Camera, Nothing, ended, opened
from scripted_streams import FILE, Model, Watching, account, num_slots, outer_gaps, playing, sessions_of, states_of

from pipeline.cameras.pulling.pulled import EndReason, Pulled
from pipeline.lake.live import readers
from pipeline.records.streams import GapReason


def test_a_changed_size_begins_another_session_and_loses_nothing(tmp_path: Path) -> None:
    camera = Camera()
    later = Camera(starts_at=camera.starts_at + 2)
    script: list[Pulled] = [
        opened(),
        *camera.frames(range(50)),
        opened(width=320, why="size"),
        *later.frames(range(50)),
    ]
    Watching(lake=tmp_path, scripts=[script]).until(20)
    first, second = sessions_of(tmp_path)

    assert [account(tmp_path, session) for session in (first, second)] == [{"row": 10}, {"row": 10}]
    assert (first.width, second.width) == (160, 320)
    assert outer_gaps(tmp_path) == []
    assert states_of(tmp_path) == ["connecting", "playing", "stopped"]


@pytest.mark.parametrize(
    "end",
    [ended(), ended(EndReason.CRASHED, "signal 11"), ended(EndReason.KILLED), ended(EndReason.UNREADABLE)],
    ids=str,
)
def test_a_connection_that_ends_is_made_again_and_what_was_missed_is_told(tmp_path: Path, end: Pulled) -> None:
    camera = Camera()
    back = Camera(starts_at=camera.starts_at + 4.3)
    scripts = [[*playing(camera.frames(range(50))), end], playing(back.frames(range(50)))]
    status = Watching(lake=tmp_path, scripts=scripts).until(20)
    first, second = sessions_of(tmp_path)
    [gap] = outer_gaps(tmp_path)

    assert [account(tmp_path, session) for session in (first, second)] == [{"row": 10}, {"row": 10}]
    assert (gap.reason, gap.num_slots, gap.video_id) == (GapReason.DISCONNECTED, 11, first.video_id)
    assert gap.captured_from == first.started_at + timedelta(seconds=2)
    assert gap.captured_to == second.started_at
    assert states_of(tmp_path) == ["connecting", "playing", "reconnecting", "playing", "stopped"]
    assert (status.counters.reconnects, status.counters.gaps) == (1, 11)


def test_a_camera_that_hangs_is_given_up_and_the_time_is_told_as_stalled(tmp_path: Path) -> None:
    camera = Camera()
    back = Camera(starts_at=camera.starts_at + 6)
    scripts = [playing(camera.frames(range(50))), playing(back.frames(range(50)))]
    Watching(lake=tmp_path, scripts=scripts, stall_s=2.0).until(20)
    [gap] = outer_gaps(tmp_path)

    assert (gap.reason, gap.num_slots) == (GapReason.STALLED, 20)
    assert states_of(tmp_path) == ["connecting", "playing", "stalled", "reconnecting", "playing", "stopped"]


def test_a_camera_that_never_shows_anything_is_given_up(tmp_path: Path) -> None:
    Watching(lake=tmp_path, scripts=[[opened()]], stall_s=1.0).until("reconnecting")

    assert states_of(tmp_path) == ["connecting", "stalled", "reconnecting", "stopped"]


@pytest.mark.parametrize(
    ("before", "between"),
    [
        pytest.param([Nothing(after_s=0.1, is_starting=True)] * 25, [], id="the-decoder-starts-slowly"),
        pytest.param([Nothing(after_s=0.1)] * 25, [], id="the-first-keyframe-is-far"),
        pytest.param([Nothing(after_s=2.5, is_starting=True)], [Nothing(after_s=2.5)], id="the-machine-was-asleep"),
    ],
)
def test_time_in_which_no_camera_could_show_anything_is_no_stall(
    tmp_path: Path, before: list[Nothing], between: list[Nothing]
) -> None:
    camera = Camera()
    script: list[Pulled | Nothing] = [*before, opened()]
    script += [*camera.frames(range(25)), *between, *camera.frames(range(25, 50))]
    Watching(lake=tmp_path, scripts=[script], stall_s=2.0).until(10)

    assert states_of(tmp_path) == ["connecting", "playing", "stopped"]


def test_pictures_that_come_later_and_later_are_a_stall(tmp_path: Path) -> None:
    camera = Camera()
    late = [replace(frame, arrived_at=frame.arrived_at + float(frame.time_s)) for frame in camera.frames(range(2000))]
    Watching(lake=tmp_path, scripts=[playing(late)], stall_s=2.0).until("reconnecting")

    assert states_of(tmp_path) == ["connecting", "playing", "stalled", "reconnecting", "stopped"]


def test_before_the_first_session_nobody_was_connected(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    late = Camera(starts_at=began.timestamp() + 60)
    scripts: list[list[Pulled]] = [[ended(EndReason.UNREACHABLE, "refused")], playing(late.frames(range(50)))]
    Watching(lake=tmp_path, scripts=scripts).until(10)
    [gap] = outer_gaps(tmp_path)

    assert (gap.video_id, gap.reason) == (None, GapReason.DISCONNECTED)
    assert began <= gap.captured_from
    assert gap.captured_to == datetime.fromtimestamp(late.starts_at, UTC)
    assert gap.num_slots == num_slots(gap) > 0
    assert states_of(tmp_path) == ["connecting", "reconnecting", "playing", "stopped"]


def test_started_again_what_nobody_was_connected_for_is_behind_the_last_session(tmp_path: Path) -> None:
    """The time in which it was stopped is in no gap."""
    Watching(lake=tmp_path, scripts=[playing(Camera().frames(range(50)))]).until(10)
    began = datetime.now(UTC)
    late = Camera(starts_at=began.timestamp() + 60)
    Watching(lake=tmp_path, scripts=[playing(late.frames(range(50)))]).until(10)
    first, _ = sessions_of(tmp_path)
    [gap] = outer_gaps(tmp_path)

    assert gap.video_id == first.video_id
    assert began <= gap.captured_from


def test_a_stop_while_nobody_is_connected_tells_what_was_missed_until_then(tmp_path: Path) -> None:
    scripts = [[*playing(Camera(starts_at=time.time() - 3).frames(range(25))), ended()]]
    Watching(lake=tmp_path, scripts=scripts).until("reconnecting")
    [session] = sessions_of(tmp_path)
    [gap] = outer_gaps(tmp_path)

    assert gap.captured_from == session.started_at + timedelta(seconds=1)
    assert gap.captured_to <= datetime.now(UTC)
    assert gap.num_slots == num_slots(gap) >= 9


def test_a_file_that_was_played_to_its_end_is_over(tmp_path: Path) -> None:
    scripts = [[*playing(Camera().frames(range(50))), ended(EndReason.ENDED)]]
    status = Watching(lake=tmp_path, scripts=scripts, address=FILE).until("over")

    assert status.reason == "ended"
    assert account(tmp_path, sessions_of(tmp_path)[0]) == {"row": 10}
    assert outer_gaps(tmp_path) == []
    assert readers.sessions(str(tmp_path))[0].status == "ok"


def test_at_the_end_of_a_file_a_slow_model_is_waited_for(tmp_path: Path) -> None:
    scripts = [[*playing(Camera().frames(range(50))), ended(EndReason.ENDED)]]
    Watching(lake=tmp_path, scripts=scripts, address=FILE, model=Model(delay_s=1.0)).until("over")

    assert account(tmp_path, sessions_of(tmp_path)[0]) == {"row": 10}
